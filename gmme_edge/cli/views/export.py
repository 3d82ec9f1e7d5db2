"""What `export` shows, while it works and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from gmme_edge.bundle.bundle import Bundle
    from gmme_exporters.options import Report


@contextmanager
def export_display() -> Iterator[Report]:
    """A spinner that names the stage, and a bar where a stage can count."""
    from gmme_edge.cli.views.console import progress
    from gmme_exporters.options import Report

    with progress() as bar:
        stage = bar.add_task("export", total=None)
        steps = bar.add_task("", total=None, visible=False)

        def on_stage(name: str) -> None:
            bar.update(stage, description=name)
            bar.update(steps, visible=False)

        def on_progress(name: str, done: int, total: int) -> None:
            bar.update(
                steps, description=f"  {name}"[:40], completed=done, total=total, visible=True
            )

        yield Report(on_stage, on_progress)


def describe_bundle(bundle: Bundle, console: Console) -> None:
    """Print how each precision compares with torch, and what the bundle holds."""
    from gmme_edge.cli.views.tables import parity_table
    from gmme_edge.report.render.terminal import verdict_table

    console.print(parity_table(bundle.manifest.parity))
    engines = sum(file.role == "engine" for file in bundle.manifest.files)
    held = ", ".join(bundle.precisions) + (f", {engines} engines" if engines else "")
    console.print(f"{bundle.path}: {held}", soft_wrap=True)
    if bundle.manifest.verdict:
        console.print(verdict_table(bundle.manifest.verdict))
