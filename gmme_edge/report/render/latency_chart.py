"""A bar chart of latencies as a standalone SVG, drawn with nothing but text."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

from gmme_edge.report.compare import Comparison, Entry
from gmme_edge.report.render.cells import format_ms
from gmme_edge.report.render.terminal import group_by_setting

_WIDTH, _LEFT, _BARS, _ROW, _TITLE = 820, 270, 430, 24, 34
_FONT = "font-family='system-ui, sans-serif' font-size='13'"


def draw_latency_chart(comparison: Comparison) -> str:
    """Median latency per model and precision; a whisker reaches to the 90th percentile.

    Each setting has a scale of its own, because latencies of different settings do not compare.
    """
    timed = [entry for entry in comparison.entries if entry.latency]
    lines: list[str] = []
    y = 12
    for title, entries in group_by_setting(timed).items():
        lines.append(svg_text(12, y + 20, title, "font-weight='bold'"))
        y += _TITLE
        lines += _draw_group(entries, comparison.baseline, y)
        y += _ROW * len(entries) + 12
    caption = "Median latency in ms, shorter is better; the line ends at the 90th percentile."
    lines.append(svg_text(12, y + 14, caption, "fill='#555555'"))
    height = y + 28
    return svg_document("Median latency per model and precision", _WIDTH, height, lines)


def _draw_group(entries: Iterable[Entry], baseline: str, top: int) -> list[str]:
    rows = [(entry, entry.latency) for entry in entries if entry.latency]
    scale = _BARS / max(row.p90_ms for _, row in rows)
    lines = []
    for index, (entry, row) in enumerate(rows):
        y = top + index * _ROW
        width, end = row.median_ms * scale, _LEFT + max(row.p90_ms, row.median_ms) * scale
        color = "#8a8f98" if entry.model == baseline else "#2b6cb0"
        label = f"{entry.model} {entry.precision}"
        lines += [
            svg_text(_LEFT - 8, y + 16, _shorten(label), "text-anchor='end'"),
            f"<rect x='{_LEFT}' y='{y + 3}' width='{width:.1f}' height='{_ROW - 6}' "
            f"fill='{color}'/>",
            f"<path d='M{_LEFT + width:.1f} {y + 12}H{end:.1f}' stroke='#222222'/>",
            svg_text(end + 6, y + 16, f"{format_ms(row.median_ms)} ms", ""),
        ]
    return lines


def _shorten(label: str) -> str:
    return label if len(label) <= 38 else f"{label[:37]}…"


def svg_document(title: str, width: int, height: int, lines: Iterable[str]) -> str:
    """A picture on white, `width` by `height` pixels, of the elements in `lines`."""
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
            f"width='{width}' height='{height}' role='img' {_FONT}>",
            f"<title>{_escape(title)}</title>",
            f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
            *lines,
            "</svg>",
            "",
        ]
    )


def svg_text(x: float, y: float, text: str, attributes: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {attributes}>{_escape(text)}</text>"


def _escape(text: str) -> str:
    # Control characters have no place in XML 1.0, not even escaped.
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
