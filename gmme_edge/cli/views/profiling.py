"""Tables of what `profile` measured beside latencies."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from gmme_edge.profiling.latency import LatencyRow


def name_row(row: LatencyRow) -> str:
    """What tells a row from the others of its result."""
    threads = "" if row.threads is None else f", threads {row.threads}"
    return f"{row.bundle} {row.precision} on {row.backend}{threads}, batch {row.batch}"


def energy_table(rows: Sequence[LatencyRow]) -> Table:
    """Energy per clip without what the idle machine takes, its interval, and with it."""
    meters = ", ".join(dict.fromkeys(row.energy.meter for row in rows if row.energy))
    table = Table(
        title=Text(f"Energy per clip, idle subtracted ({meters})"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for index, head in enumerate(("network", "mJ", "[95 %]", "with idle", "idle W", "busy W")):
        table.add_column(Text(head), justify="right" if index else "left", overflow="fold")
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
