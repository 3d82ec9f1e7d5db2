"""Tables for a terminal of 80 columns: every row has two lines, figures and what qualifies them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.compare import Comparison
from gmme_edge.report.entries import Entry
from gmme_edge.report.render.cells import (
    COST_HEADER,
    LATENCY_HEADER,
    SIZE_HEADER,
    SPEED_HEADER,
    VERDICT_HEADER,
    Cell,
    cost_cells,
    describe_setting,
    latency_cells,
    size_cells,
    speed_cells,
    verdict_cells,
)
from gmme_edge.report.render.plain_table import plain_table


def latency_tables(rows: Sequence[LatencyRow]) -> RenderableType:
    """One table per backend, threads and batch."""
    twins = len({(row.model, row.bundle) for row in rows}) > len({row.model for row in rows})
    groups: dict[str, list[LatencyRow]] = {}
    for row in rows:
        groups.setdefault(describe_setting(row), []).append(row)
    parts: list[RenderableType] = []
    for title, group in groups.items():
        cells = (latency_cells(row, row.bundle if twins else row.model) for row in group)
        parts += [_table(title, LATENCY_HEADER, cells), ""]
    return Group(*parts)


def comparison_tables(comparison: Comparison) -> RenderableType:
    """Size and compute of every model, then speed and accuracy per setting, then the notes."""
    parts: list[RenderableType] = [
        _table(
            f"Size and compute (base: {comparison.baseline})",
            SIZE_HEADER,
            (size_cells(entry) for entry in unique_sizes(comparison.entries)),
        ),
        "",
    ]
    for title, entries in group_by_setting(comparison.entries).items():
        parts += [_table(title, SPEED_HEADER, map(speed_cells, entries)), ""]
        if entries[0].latency:
            costs = _table(
                "Throughput, memory, energy and rank there", COST_HEADER, map(cost_cells, entries)
            )
            parts += [costs, ""]
    parts += [Text(f"* {note}") for note in comparison.notes]
    return Group(*parts)


def verdict_table(verdict: Mapping[str, Any]) -> RenderableType:
    """What `export --auto` measured, then what it recommends and why the others not."""
    clips, tried = verdict["clips"], verdict["tried"]
    fold = "" if clips["fold"] is None else f" fold {clips['fold']}"
    threads = "engine's threads" if verdict["threads"] is None else f"threads: {verdict['threads']}"
    title = (
        f"{verdict['backend']}, {threads}; accuracy on {clips['n']} validation clips of "
        f"{clips['dataset']}{fold}"
    )
    parts: list[RenderableType] = [_table(title, VERDICT_HEADER, map(verdict_cells, tried)), ""]
    if clips["held_out_of_training"]:
        parts.append(
            Text("These clips were trained on: accuracies are too high, losses rather too small.")
        )
    for each in tried:
        judged = "; ".join(each["reasons"]) or f"recommended for {verdict['backend']}"
        parts.append(Text(f"{each['precision']}: {judged}"))
        if each["recommended"]:  # a manifest of before has no notes
            parts += [Text(f"  note: {note}") for note in each.get("notes", ())]
    return Group(*parts)


def unique_sizes(entries: Iterable[Entry]) -> list[Entry]:
    """Entries whose size and compute differ; one model on several threads appears once."""
    unique = {
        (e.model, e.precision, e.t_params, e.gflops, e.latency and e.latency.size_bytes): e
        for e in reversed(list(entries))
    }
    return list(reversed(unique.values()))


def group_by_setting(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries that were measured alike, under a title that says how and in which file."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        title = "Accuracy only"
        if entry.latency:
            title = f"{describe_setting(entry.latency)} ({entry.source})"
        groups.setdefault(title, []).append(entry)
    return groups


def _table(title: str, header: Iterable[Cell], rows: Iterable[Sequence[Cell]]) -> Table:
    table = plain_table(title, ("\n".join(cell) for cell in header), narrow=True)
    for row in rows:
        table.add_row(*(Text(top).append(f"\n{below}", "dim") for top, below in row))
    return table
