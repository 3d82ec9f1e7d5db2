"""What `export` shows at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmme_edge.errors import PartialError

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


def refuse_partial(bundle: Bundle) -> None:
    """Raise `PartialError` where a precision was left out of a bundle that was written."""
    left_out: dict[str, str] = bundle.manifest.provenance.get("left_out", {})
    if left_out:
        rest = ",".join(bundle.precisions)
        raise PartialError(
            f"{bundle.path} was written without {', '.join(left_out)}: "
            + " ".join(left_out.values()),
            "every precision within its limit.",
            f"use the bundle as it is, or name --precision {rest}; try --calib-method mse, or "
            "--max-accuracy-drop, for the others.",
        )
