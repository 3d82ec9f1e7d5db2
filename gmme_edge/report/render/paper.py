"""The paper's tables beside ours: for a terminal of 80 columns, and as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from gmme_edge.report.paper import SOURCE, PaperComparison, Reproduced
from gmme_edge.report.render.plain_table import plain_table

_HEADER = ("network", "figure", "paper", "here", "")
_NONE = "–"


def paper_tables(comparison: PaperComparison) -> RenderableType:
    """A table for each data set, and what the marks mean."""
    marks = _number(comparison)
    parts: list[RenderableType] = []
    for title, rows in _by_set(comparison):
        table = plain_table(title, _HEADER, left=(0, 1, 4), narrow=True)
        for row in rows:
            table.add_row(*(Text(cell) for cell in _cells(row, marks)))
        parts += [table, ""]
    parts += [Text(f"[{mark}] {note}") for note, mark in marks.items()]
    parts += [Text(f"* {other}") for other in comparison.others]
    return Group(*parts)


def render_paper(comparison: PaperComparison, command: str) -> str:
    """The page; `command` made it."""
    marks = _number(comparison)
    lines = ["# Beside the paper", "", f"{SOURCE}.", ""]
    for title, rows in _by_set(comparison):
        lines += [f"## {title}", "", "| " + " | ".join(_HEADER) + " |", "|---|---|---:|---:|---|"]
        lines += ["| " + " | ".join(_cells(row, marks)) + " |" for row in rows]
        lines.append("")
    lines += [f"- [{mark}] {note}" for note, mark in marks.items()]
    lines += [f"- {other}" for other in comparison.others]
    return "\n".join([*lines, "", "```", command, "```", ""])


def _by_set(comparison: PaperComparison) -> Iterator[tuple[str, list[Reproduced]]]:
    for (table, name), rows in groupby(comparison.rows, lambda row: (row.table, row.set_name)):
        yield f"{name} (Table {table})", list(rows)


def _number(comparison: PaperComparison) -> dict[str, int]:
    """Every note once, with its mark."""
    notes = dict.fromkeys(note for row in comparison.rows for note in row.notes)
    return {note: mark for mark, note in enumerate(notes, 1)}


def _cells(row: Reproduced, marks: dict[str, int]) -> tuple[str, ...]:
    noted = "".join(f" [{marks[note]}]" for note in row.notes)
    return row.model, row.figure, row.printed, _ours(row), f"{row.state}{noted}"


def _ours(row: Reproduced) -> str:
    if row.ours is None:
        return _NONE
    if row.interval is None:
        return f"{round(row.ours):,}"
    low, high = row.interval
    return f"{100 * row.ours:.2f} % [{100 * low:.1f}, {100 * high:.1f}]"
