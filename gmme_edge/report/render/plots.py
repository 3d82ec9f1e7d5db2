"""Plots of a comparison as SVG: what accuracy costs, and how latencies are distributed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gmme_edge.report.entries import Entry
from gmme_edge.report.render.cells import format_bytes, format_ms
from gmme_edge.report.render.svg import BLUE, GREY, LABELS, ORANGE, WIDTH, svg_document, svg_text

_LEFT, _RIGHT, _TOP, _HEIGHT = 64, 150, 46, 280
_BINS, _STRIP = 48, 46


@dataclass(frozen=True)
class Spot:
    """A point of a plot; less `x` and more `y` are better."""

    x: float
    y: float
    name: str
    is_base: bool = False


def draw_tradeoff(entries: Sequence[Entry], by: str) -> str:
    """Accuracy in % over ``"latency"`` (median, ms) or ``"size"``; the line joins the best.

    Empty where no entry has both.
    """
    value_of: Callable[[Entry], float]
    if by == "latency":
        title, unit, form = "Accuracy and latency", "median latency in ms", format_ms
        value_of = lambda e: e.latency.median_ms if e.latency else math.nan  # noqa: E731
    else:
        title, unit, form = "Accuracy and size", "size of the file", _as_bytes
        value_of = lambda e: float(e.latency.size_bytes) if e.latency else math.nan  # noqa: E731
    spots = [
        Spot(value_of(e), 100 * e.accuracy.value, f"{e.name} {e.precision}", e.is_base)
        for e in entries
        if e.latency and e.accuracy
    ]
    return _draw_spots(f"{title}: the line joins what nothing beats in both", unit, spots, form)


def pareto_front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other spot beats in one direction without losing in the other, by x."""
    front: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.x, -s.y)):
        if not front or spot.y > front[-1].y:
            front.append(spot)
    return front


def draw_distributions(entries: Sequence[Entry]) -> str:
    """A histogram of the samples of every row, on one time axis up to the largest p99."""
    rows = [(entry, entry.latency) for entry in entries if entry.latency]
    if not rows:
        return ""
    end = max(row.p99_ms for _, row in rows)
    edges = np.linspace(0, end, _BINS + 1)
    left, width = LABELS, WIDTH - LABELS - 90
    lines = []
    for index, (entry, row) in enumerate(rows):
        base = _TOP + (index + 1) * _STRIP - 8
        counts, _ = np.histogram(row.samples_ms, edges)
        steps = "".join(
            f"V{base - 34 * count / counts.max():.1f}H{left + width * (k + 1) / _BINS:.1f}"
            for k, count in enumerate(counts)
        )
        median = left + width * row.median_ms / end
        color = GREY if entry.is_base else BLUE
        lines += [
            svg_text(left - 8, base - 8, f"{entry.name} {entry.precision}", "text-anchor='end'"),
            f"<path d='M{left} {base}{steps}V{base}Z' fill='{color}' fill-opacity='0.75'/>",
            f"<path d='M{median:.1f} {base}v-38' stroke='{ORANGE}' stroke-width='2'/>",
            svg_text(left + width + 6, base - 8, f"{format_ms(row.median_ms)} ms", ""),
        ]
    bottom = _TOP + len(rows) * _STRIP + 12
    lines.append(svg_text(left, bottom, "0", "text-anchor='middle'"))
    lines.append(svg_text(left + width, bottom, f"{format_ms(end)} ms", "text-anchor='middle'"))
    title = "Distribution of latencies; the mark is the median"
    lines.insert(0, svg_text(12, 24, title, "font-weight='bold'"))
    return svg_document(title, WIDTH, bottom + 14, lines)


def _draw_spots(title: str, unit: str, spots: Sequence[Spot], form: Callable[[float], str]) -> str:
    if not spots:
        return ""
    right, bottom = WIDTH - _RIGHT, _TOP + _HEIGHT
    most = max(spot.x for spot in spots) * 1.08
    lowest, highest = min(s.y for s in spots), max(s.y for s in spots)
    margin = max(0.5, (highest - lowest) * 0.15)
    lowest, highest = lowest - margin, min(100.0, highest + margin)

    def place(spot: Spot) -> tuple[float, float]:
        x = _LEFT + (right - _LEFT) * spot.x / most
        return x, bottom - _HEIGHT * (spot.y - lowest) / ((highest - lowest) or 1.0)

    lines = [svg_text(12, 24, title, "font-weight='bold'")]
    for k in range(5):
        y, x = bottom - _HEIGHT * k / 4, _LEFT + (right - _LEFT) * k / 4
        label = f"{lowest + (highest - lowest) * k / 4:.1f} %"
        lines += [
            f"<path d='M{_LEFT} {y:.1f}H{right}' stroke='#e3e5e8'/>",
            svg_text(_LEFT - 8, y + 4, label, "text-anchor='end'"),
            svg_text(x, bottom + 18, form(most * k / 4) if k else "0", "text-anchor='middle'"),
        ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, pareto_front(spots)))
    lines.append(
        f"<polyline points='{path}' fill='none' stroke='{ORANGE}' stroke-dasharray='4 4'/>"
    )
    taken: list[float] = []
    for spot in sorted(spots, key=lambda s: -s.y):
        (x, y), color = place(spot), GREY if spot.is_base else BLUE
        text_y = y + 4
        while any(abs(text_y - other) < 14 for other in taken):
            text_y += 14
        taken.append(text_y)
        lines.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{color}'/>")
        lines.append(svg_text(x + 9, text_y, spot.name, ""))
    lines.append(svg_text((_LEFT + right) / 2, bottom + 38, unit, "text-anchor='middle'"))
    return svg_document(title, WIDTH, bottom + 50, lines)


def _as_bytes(value: float) -> str:
    return format_bytes(round(value))
