"""Tables of what `profile` measured beside latencies."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.documents import LatencyResult
from gmme_edge.report.render.cells import format_bytes, name_row
from gmme_edge.report.render.plain_table import plain_table


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


def deadline_table(rows: Sequence[LatencyRow]) -> Table:
    """How often a paced stream was late."""
    hops_ms = {row.deadlines.hop_ms for row in rows if row.deadlines}
    title = f"Deadlines, one call per {', '.join(f'{ms:g}' for ms in sorted(hops_ms))} ms"
    table = plain_table(title, ("network", "calls", "missed", "share"))
    for row in rows:
        if row.deadlines:
            due = row.deadlines.calls
            share = f"{row.deadlines.misses / due:.1%}"
            table.add_row(Text(name_row(row)), str(due), str(row.deadlines.misses), share)
    return table


def energy_table(rows: Sequence[LatencyRow]) -> Table:
    """Energy per clip without what the idle machine takes, its interval, and with it."""
    meters = ", ".join(dict.fromkeys(row.energy.meter for row in rows if row.energy))
    header = ("network", "mJ", "[95 %]", "with idle", "idle W", "busy W")
    table = plain_table(f"Energy per clip, idle subtracted ({meters})", header)
    for row in rows:
        if row.energy:
            low_high = row.energy.interval_mj
            gross = sum(row.energy.gross_mj) / len(row.energy.gross_mj)
            table.add_row(
                Text(name_row(row)),
                f"{row.energy.mean_mj:.3g}",
                f"{low_high[0]:.3g}–{low_high[1]:.3g}" if low_high else "",
                f"{gross:.3g}",
                f"{row.energy.idle_w:.2f}",
                f"{row.energy.busy_w:.2f}",
            )
    return table
