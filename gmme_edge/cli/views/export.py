"""What `export` shows at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmme_edge.errors import PartialError

if TYPE_CHECKING:
    from rich.console import Console

    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.workflows.exporting import Exported


def describe_bundle(bundle: Bundle, console: Console) -> None:
    """Print how each precision compares with torch, and what the bundle holds."""
    from gmme_edge.cli.views.tables import parity_table
    from gmme_edge.report.render.terminal import verdict_table

    console.print(parity_table(bundle.manifest.parity))
    engines = sum(file.role == "engine" for file in bundle.manifest.files)
    held = ", ".join(bundle.precisions) + (
        f", {engines} engine{'s' * (engines > 1)}" if engines else ""
    )
    console.print(f"{bundle.path}: {held}", soft_wrap=True, markup=False)
    if bundle.manifest.verdict:
        console.print(verdict_table(bundle.manifest.verdict))


def describe_next(exported: Exported, console: Console) -> None:
    """Print what to run on a board, and the trtexec line of each TensorRT engine."""
    if exported.script:
        console.print(f"on the device: python3 {exported.script.name}", soft_wrap=True)
    if exported.page:
        served = exported.page.parent
        console.print(f"the page: python3 -m http.server -d {served}", markup=False, soft_wrap=True)
    for model in exported.models:
        console.print(f"for Triton: {model}", markup=False, highlight=False, soft_wrap=True)
    for line in exported.trtexec:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def refuse_partial(exported: Exported) -> None:
    """Raise `PartialError` where a precision was left out of a bundle that was written."""
    if exported.left_out:
        bundle, left_out = exported.bundle, exported.left_out
        raise PartialError(
            f"{bundle.path} was written without {', '.join(left_out)}: "
            + " ".join(left_out.values()),
            "every precision within its limit.",
            f"use the bundle as it is, or name --precision {','.join(bundle.precisions)}; try "
            "--calib-method mse, or --max-accuracy-drop, for the others.",
        )
