"""The comparison as one HTML file that needs no network: tables, plots, devices, commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gmme_edge import __version__
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.compare import Comparison
from gmme_edge.report.documents import (
    LatencyResult,
    LayersResult,
    LoadedResult,
    RooflineResult,
)
from gmme_edge.report.entries import Entry
from gmme_edge.report.render import cells
from gmme_edge.report.render.latency_chart import draw_latency_chart
from gmme_edge.report.render.layers import draw_layer_chart
from gmme_edge.report.render.page import render_page
from gmme_edge.report.render.plots import draw_distributions, draw_tradeoff
from gmme_edge.report.render.power import draw_power
from gmme_edge.report.render.roofline import draw_roofline
from gmme_edge.report.render.stream import draw_streams
from gmme_edge.report.render.terminal import group_by_setting
from gmme_edge.runtime.backends import COPIED


@dataclass(frozen=True)
class Column:
    """A column of the table: its heading, and what its filter compares with.

    Attributes:
        unit: of the numbers that it is sorted and filtered by.
        is_choice: its filter offers the values; otherwise one types a limit or a part of a text.
    """

    name: str
    unit: str = ""
    is_choice: bool = False


COLUMNS = (
    Column("network", is_choice=True), Column("precision", is_choice=True),
    Column("backend", is_choice=True), Column("threads", is_choice=True),
    Column("batch", is_choice=True), Column("calls", is_choice=True), Column("median ms"),
    Column("× base"), Column("latency", is_choice=True), Column("p90 ms"), Column("clips/s"),
    Column("memory", "MB"), Column("mJ per clip"), Column("× base's mJ"), Column("accuracy %"),
    Column("points"), Column("#D", "k"), Column("#T", "M"), Column("GFLOPs"),
    Column("size", "MB"), Column("device", is_choice=True), Column("result", is_choice=True),
)  # fmt: skip
Shown = tuple[str, object]
_ABSENT: Shown = (cells.NONE, "")
_TIMED = 11


def render_html(comparison: Comparison, command: str) -> str:
    """The page; data is escaped by the template, `command` made this report.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    commands = [*(result.command for result in comparison.results if result.command), command]
    rows = [_row(entry) for entry in comparison.entries]
    return render_page(
        "report.html.j2",
        baseline=comparison.baseline,
        columns=COLUMNS,
        filters=_filters([row["cells"] for row in rows]),
        rows=rows,
        notes=comparison.notes,
        figures=[figure for figure in _figures(comparison) if figure["svg"]],
        devices=_devices(comparison),
        commands=list(dict.fromkeys(commands)),
        version=__version__,
    )


def _row(entry: Entry) -> dict[str, Any]:
    """A line of the table: what is shown, and by what it is sorted."""
    row = entry.latency
    values = [
        *((text, text) for text in (entry.name, entry.precision, entry.backend)),
        *(_timed(entry, row) if row else [_ABSENT] * _TIMED),
        *_scored(entry),
        (cells.format_count(entry.d_params), entry.d_params / 1e3),
        (cells.format_count(entry.t_params), entry.t_params / 1e6),
        (f"{entry.gflops:.3g}", entry.gflops),
        (cells.format_bytes(row.size_bytes), row.size_bytes / 1e6) if row else _ABSENT,
        (cells.name_device(entry.device),) * 2,
        (entry.source,) * 2,
    ]
    return {"cells": values, "is_base": entry.is_base}


def _filters(rows: Sequence[Sequence[Shown]]) -> list[dict[str, Any]]:
    """What can be filtered by: a column whose values differ. Choices are (shown, compared with)."""
    found = []
    for index, column in enumerate(COLUMNS):
        values = {str(key): text for text, key in (row[index] for row in rows)}
        if len(values) > 1:
            choices = [(text, key) for key, text in values.items()] if column.is_choice else []
            found.append({"index": index, "column": column, "choices": choices})
    return found


def _timed(entry: Entry, row: LatencyRow) -> list[Shown]:
    """What is known of a network that was timed, in the order of `COLUMNS`."""
    ratio, energy = entry.ratio, entry.energy
    calls = row.stream if row.gpu_call == COPIED else f"{row.stream}, {row.gpu_call}"
    times = f"{cells.format_ratio(ratio.latency)} {cells.format_interval(ratio.latency_interval)}"
    interval = cells.format_mj_interval(energy.interval_mj) if energy else ""
    return [
        (str(row.threads or "auto"), row.threads or 0),
        (str(row.batch), row.batch),
        (calls, calls),
        (cells.format_ms(row.median_ms), row.median_ms),
        (times, ratio.latency or ""),
        (ratio.latency_rank or cells.NONE, ratio.latency_rank or ""),
        (cells.format_ms(row.p90_ms), row.p90_ms),
        (cells.format_rate(row.throughput_clips_per_s), row.throughput_clips_per_s),
        (cells.format_bytes(row.peak_memory_bytes), row.peak_memory_bytes / 1e6),
        (f"{cells.format_mj(energy.mean_mj)} {interval}", energy.mean_mj) if energy else _ABSENT,
        (cells.format_ratio(ratio.energy), ratio.energy or ""),
    ]


def _scored(entry: Entry) -> list[Shown]:
    accuracy, points = entry.accuracy, entry.ratio.accuracy_points
    if accuracy is None:
        return [_ABSENT, _ABSENT]
    low, high = accuracy.interval
    return [
        (f"{100 * accuracy.value:.2f} [{100 * low:.1f}, {100 * high:.1f}]", 100 * accuracy.value),
        (f"{points:+.2f}", points) if points is not None else _ABSENT,
    ]


def _figures(comparison: Comparison) -> list[dict[str, str]]:
    entries = comparison.entries
    timed = [entry for entry in entries if entry.latency]
    figures = [{"title": "Latency", "svg": draw_latency_chart(comparison) if timed else ""}]
    for title, group in group_by_setting(timed).items():
        for by in ("latency", "size"):
            figures.append(
                {"title": f"Accuracy and {by}, {title}", "svg": draw_tradeoff(group, by)}
            )
        figures.append({"title": f"Latencies, {title}", "svg": draw_distributions(group)})
    for result in comparison.results:
        figures += _figures_of(result)
    return figures


def _figures_of(result: LoadedResult) -> list[dict[str, str]]:
    """What one file alone tells: traces of power and of paced calls, time per block."""
    charts: dict[str, str] = {}
    if isinstance(result, LatencyResult):
        names = [cells.name_row(row) for row in result.rows]
        charts["Power"] = draw_power(result.power, names) if result.power else ""
        charts["Paced calls"] = draw_streams(result.rows, names)
    elif isinstance(result, LayersResult):
        charts["Time per block"] = draw_layer_chart(result.profiles)
    elif isinstance(result, RooflineResult):
        charts["Time per block and the machine's peaks"] = draw_roofline(result.profiles)
    return [{"title": f"{what} ({result.source})", "svg": svg} for what, svg in charts.items()]


def _devices(comparison: Comparison) -> list[dict[str, Any]]:
    """Each machine once, with the results that it gave."""
    cards: dict[str, dict[str, Any]] = {}
    for result in comparison.results:
        facts = {k: cells.format_value(v) for k, v in result.device.items() if k != "load_average"}
        card = cards.setdefault(repr(facts), {"facts": facts, "sources": [], "states": []})
        card["sources"].append(result.source)
        for when, state in result.state.items():
            if state:
                card["states"].append((f"{result.source}, {when}", cells.format_value(state)))
    return list(cards.values())
