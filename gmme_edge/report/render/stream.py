"""The calls of paced streams in their order, as SVG: one strip per row, with the deadline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.render.cells import format_ms
from gmme_edge.report.render.svg import BLUE, GREY, ORANGE, WIDTH, svg_document, svg_text

_LEFT, _RIGHT, _TITLE, _HEIGHT, _FOOT, _TEXT = 88, 20, 34, 90, 30, 14
_MOST_LINES = 600
_IN_SIGHT = 3
"""The deadline is drawn where it is at most so many times the longest call."""


def draw_streams(rows: Sequence[LatencyRow], names: Sequence[str]) -> str:
    """From the moment when each call was due to its end; empty where no row is of a paced stream.

    Of neighbours that share a line the longest is drawn, so that no missed deadline is hidden.
    """
    paced = [(row, name) for row, name in zip(rows, names, strict=True) if row.deadlines]
    if not paced:
        return ""
    title = "Paced calls in their order, from when each was due to its end"
    lines = [svg_text(12, 24, title, "font-weight='bold'")]
    height = _TITLE
    for row, name in paced:
        lines += _draw_row(row, name, height)
        height += _TITLE + _HEIGHT + _FOOT
    return svg_document(title, WIDTH, height, lines)


def _draw_row(row: LatencyRow, name: str, top: int) -> list[str]:
    assert row.deadlines
    hop_ms, longest_ms = row.deadlines.hop_ms, max(row.samples_ms)
    in_sight = hop_ms <= _IN_SIGHT * longest_ms
    most_ms = 1.08 * max(longest_ms, hop_ms if in_sight else 0.0)
    base, width = top + _TITLE + _HEIGHT, WIDTH - _LEFT - _RIGHT
    shown = list(_longest_of_neighbours(row.samples_ms))
    step = width / len(shown)
    late = f"{row.deadlines.misses} of {row.deadlines.calls} deadlines missed"
    lines = [svg_text(_LEFT, top + 24, f"{name}: due every {format_ms(hop_ms)} ms, {late}", "")]
    for color, is_late in ((BLUE, False), (ORANGE, True)):
        marks = "".join(
            f"M{_LEFT + (index + 0.5) * step:.1f} {base}V{base - _HEIGHT * ms / most_ms:.1f}"
            for index, ms in enumerate(shown)
            if (ms >= hop_ms) == is_late
        )
        if marks:
            stroke = f"stroke-width='{max(1.0, 0.7 * step):.1f}'"
            lines.append(f"<path d='{marks}' stroke='{color}' {stroke}/>")
    levels = [hop_ms] if in_sight else [longest_ms]
    if in_sight and _HEIGHT * abs(hop_ms - longest_ms) / most_ms > _TEXT:
        levels.append(longest_ms)
    if in_sight:
        y = base - _HEIGHT * hop_ms / most_ms
        lines.append(f"<path d='M{_LEFT} {y:.1f}h{width}' stroke='{GREY}' stroke-dasharray='5 4'/>")
    for ms in levels:
        y = base - _HEIGHT * ms / most_ms + 4
        lines.append(svg_text(_LEFT - 6, y, f"{format_ms(ms)} ms", "text-anchor='end'"))
    lines.append(svg_text(_LEFT, base + 16, "call 1", ""))
    last = f"call {len(row.samples_ms)}"
    lines.append(svg_text(_LEFT + width, base + 16, last, "text-anchor='end'"))
    return lines


def _longest_of_neighbours(samples_ms: Sequence[float]) -> Iterator[float]:
    every = -(-len(samples_ms) // _MOST_LINES)
    for start in range(0, len(samples_ms), every):
        yield max(samples_ms[start : start + every])
