"""The one look of the tables in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rich import box
from rich.table import Table
from rich.text import Text


def plain_table(
    title: str, header: Iterable[str], left: Collection[int] = (0,), narrow: bool = False
) -> Table:
    """A table without rows; figures stand right, the columns of `left` left.

    Args:
        narrow: without a space before each column, for tables that just fit 80 of them.
    """
    table = Table(
        title=Text(title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if narrow else (0, 1),
    )
    for index, head in enumerate(header):
        # As Text: rich would take "[p90]" in a string for markup.
        justify = "left" if index in left else "right"
        table.add_column(Text(head), justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table
