"""Tables that more than one command prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def parity_table(parity: Mapping[str, Mapping[str, float]]) -> Table:
    """One row per precision: errors of the logits against the reference."""
    from rich.table import Table

    table = Table("precision", "max error", "mean error", "relative", "limit", "same top-1")
    for name, p in parity.items():
        table.add_row(
            name, f"{p['max_abs']:.1e}", f"{p['mean_abs']:.1e}", f"{p['relative']:.1e}",
            f"{p['limit']:.0e}", f"{p['top1_agreement']:.0%} of {p['n_clips']}",
        )  # fmt: skip
    return table
