"""Latencies as a chart of bars."""

from __future__ import annotations

from gmme_edge.report.compare import Comparison
from gmme_edge.report.render.cells import format_ms
from gmme_edge.report.render.svg import BLUE, GREY, Bar, BarGroup, draw_bars
from gmme_edge.report.render.terminal import group_by_setting


def draw_latency_chart(comparison: Comparison) -> str:
    """Median latency per network and precision; a whisker reaches to the 90th percentile.

    Each setting has a scale of its own, because latencies of different settings do not compare.
    """
    timed = [entry for entry in comparison.entries if entry.latency]
    groups = [
        BarGroup(
            title,
            [
                Bar(
                    f"{entry.name} {entry.precision}",
                    [(row.median_ms, GREY if entry.is_base else BLUE)],
                    f"{format_ms(row.median_ms)} ms",
                    row.p90_ms,
                )
                for entry in entries
                if (row := entry.latency)
            ],
        )
        for title, entries in group_by_setting(timed).items()
    ]
    caption = "Median latency in ms, shorter is better; the line ends at the 90th percentile."
    return draw_bars("Median latency per model and precision", groups, caption)
