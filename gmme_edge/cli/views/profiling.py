"""Tables of what `profile` measured beside latencies."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.documents import LatencyResult
from gmme_edge.report.render.cells import format_bytes, name_row
from gmme_edge.report.render.plain_table import plain_table
from gmme_edge.report.render.terminal import latency_tables


def latency_parts(rows: Sequence[LatencyRow]) -> RenderableType:
    """Latencies, and what else was measured of the same rows."""
    return Group(latency_tables(rows), *_more([(row, name_row(row)) for row in rows]))


def remote_parts(results: Sequence[tuple[str, LatencyResult]]) -> RenderableType:
    """The same of several machines, each row with its machine's name."""
    named = [(row, f"{name_row(row)}, {host}") for host, result in results for row in result.rows]
    return Group(remote_table(results), *_more(named))


def _more(rows: Sequence[tuple[LatencyRow, str]]) -> list[Table]:
    tables = []
    if any(row.deadlines for row, _ in rows):
        tables.append(deadline_table(rows))
    if any(row.energy for row, _ in rows):
        tables.append(energy_table(rows))
    return tables


def remote_table(results: Sequence[tuple[str, LatencyResult]]) -> Table:
    """All machines in one table: by network, the fastest first."""
    header = ("network", "machine", "median", "p90 ms", "clips/s", "memory")
    table = plain_table("Latency on other machines", header)
    rows = [(host, row) for host, result in results for row in result.rows]
    for host, row in sorted(rows, key=lambda each: (each[1].bundle, each[1].median_ms)):
        table.add_row(
            Text(name_row(row)),
            Text(host),
            f"{row.median_ms:.2f}",
            f"{row.p90_ms:.2f}",
            f"{row.throughput_clips_per_s:.0f}",
            format_bytes(row.peak_memory_bytes),
        )
    return table


def deadline_table(rows: Sequence[tuple[LatencyRow, str]]) -> Table:
    """How often a paced stream was late; rows come with their names."""
    hops_ms = {row.deadlines.hop_ms for row, _ in rows if row.deadlines}
    title = f"Deadlines, one call per {', '.join(f'{ms:g}' for ms in sorted(hops_ms))} ms"
    table = plain_table(title, ("network", "calls", "missed", "share"))
    for row, name in rows:
        if row.deadlines:
            due = row.deadlines.calls
            share = f"{row.deadlines.misses / due:.1%}"
            table.add_row(Text(name), str(due), str(row.deadlines.misses), share)
    return table


def energy_table(rows: Sequence[tuple[LatencyRow, str]]) -> Table:
    """Energy per clip without what the idle machine takes, its interval, and with it."""
    meters = ", ".join(dict.fromkeys(row.energy.meter for row, _ in rows if row.energy))
    header = ("network", "mJ", "[95 %]", "with idle", "idle W", "busy W")
    table = plain_table(f"Energy per clip, idle subtracted ({meters})", header)
    for row, name in rows:
        if row.energy:
            low_high = row.energy.interval_mj
            gross = sum(row.energy.gross_mj) / len(row.energy.gross_mj)
            table.add_row(
                Text(name),
                f"{row.energy.mean_mj:.3g}",
                f"{low_high[0]:.3g}–{low_high[1]:.3g}" if low_high else "",
                f"{gross:.3g}",
                f"{row.energy.idle_w:.2f}",
                f"{row.energy.busy_w:.2f}",
            )
    return table
