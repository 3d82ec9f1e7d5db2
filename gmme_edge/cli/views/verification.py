"""What `verify` found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmme_edge.cli.views.console import stdout

if TYPE_CHECKING:
    from rich.table import Table

    from gmme_edge.workflows.verifying import Verification


def show_verification(found: Verification) -> None:
    """A table, then what follows from it and what does not."""
    stdout.print(_table(found))
    for line in conclusions(found):
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)


def conclusions(found: Verification) -> list[str]:
    """Whole; signed; computes here what it computed there; how far that is from floating point."""
    lines = [f"{found.n_files} files intact."]
    if found.signed_by:
        lines.append(f"The manifest is signed by the key {found.signed_by}, which you trust.")
    repeated = [name for name, each in found.precisions.items() if each.repeat]
    unknown = [name for name, each in found.precisions.items() if not each.repeat]
    if repeated:
        lines.append(f"{_join(repeated)} on {found.backend}: computes here what it computed there.")
    if unknown:
        lines.append(
            f"{_join(unknown)} on {found.backend}: within the limit of floating point. This bundle "
            "does not hold what the same graph gave when it was exported, so that was not "
            "compared; an export of today holds it."
        )
    if found.incremental:
        lines.append(
            "The incremental graphs compute whole windows and their new parts alike: within "
            f"{found.incremental.relative:.1e} of the largest logit."
        )
    for name, each in found.precisions.items():
        if each.reference.top1_agreement < 1:
            lines.append(
                f"{name} gives another label than floating point for "
                f"{1 - each.reference.top1_agreement:.0%} of {each.reference.n_clips} clips; "
                "`evaluate` tells what that costs."
            )
    return lines


def _join(names: list[str]) -> str:
    return ", ".join(names)


def _table(found: Verification) -> Table:
    from rich.table import Table

    table = Table(
        "precision", "as exported: error", "limit", "floating point: error", "limit", "same label"
    )
    for name, each in found.precisions.items():
        repeat, other = each.repeat, each.reference
        own = (f"{repeat.relative:.1e}", f"{repeat.limit:.0e}") if repeat else ("not held", "")
        table.add_row(
            name,
            *own,
            f"{other.relative:.1e}",
            f"{other.limit:.0e}",
            f"{other.top1_agreement:.0%} of {other.n_clips}",
        )
    return table
