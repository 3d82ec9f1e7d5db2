"""What `export` shows at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from gmme_edge.bundle.bundle import Bundle


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
