"""Tables that more than one command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from gmme_edge.workflows.searching import Match

_TO_SECONDS = len("2019-05-22T01:02:03")


def parity_table(parity: Mapping[str, Mapping[str, float]]) -> Table:
    """One row per precision: errors of the logits against the reference."""
    from rich.table import Table

    table = Table("precision", "max error", "mean error", "relative", "limit", "same top-1")
    for name, p in parity.items():
        table.add_row(
            name,
            f"{p['max_abs']:.1e}",
            f"{p['mean_abs']:.1e}",
            f"{p['relative']:.1e}",
            f"{p['limit']:.0e}",
            f"{p['top1_agreement']:.0%} of {p['n_clips']}",
        )
    return table


def matches_table(found: Sequence[Match]) -> Table:
    """Windows of an archive, the most similar first.

    A recording is named by its path below the folder that all share; a time in whole seconds.
    """
    from rich.table import Table
    from rich.text import Text

    from gmme_edge.evaluation import clip_names

    table = Table("similarity", "start s", "end s")
    table.add_column("UTC", no_wrap=True)
    table.add_column("recording", overflow="fold")
    for one, name in zip(found, clip_names([Path(one.path) for one in found]), strict=True):
        table.add_row(
            f"{one.similarity:.3f}",
            f"{one.start_s:.2f}",
            f"{one.end_s:.2f}",
            one.start_utc[:_TO_SECONDS].replace("T", " "),
            Text(name),
        )
    return table
