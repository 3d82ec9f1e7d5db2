"""Standalone SVG pictures, drawn with nothing but text: a page, its texts, and charts of bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#8a8f98"
WIDTH, LABELS = 820, 300
_BARS, _ROW, _TITLE, _GAP = 400, 24, 34, 12
_FONT = "font-family='system-ui, sans-serif' font-size='13'"
_LONGEST = 38


@dataclass(frozen=True)
class Bar:
    """One label with its bars from 0, stacked in the row's height; `text` stands behind the first.

    Attributes:
        values: each with its colour.
        whisker: a line from the end of the first bar to this value.
    """

    label: str
    values: Sequence[tuple[float, str]]
    text: str
    whisker: float = 0.0

    @property
    def most(self) -> float:
        return max(self.whisker, *(value for value, _ in self.values))


@dataclass(frozen=True)
class BarGroup:
    """Bars under one heading, on one scale that ends at `most`: by default the longest bar's."""

    title: str
    bars: Sequence[Bar]
    most: float = 0.0


def draw_bars(title: str, groups: Iterable[BarGroup], caption: str = "") -> str:
    """A chart of horizontal bars; `title` is what a screen reader says."""
    lines: list[str] = []
    y = _GAP
    for group in groups:
        lines.append(svg_text(12, y + 20, group.title, "font-weight='bold'"))
        y += _TITLE
        scale = _BARS / (group.most or max(bar.most for bar in group.bars) or 1.0)
        for bar in group.bars:
            lines += _draw_bar(bar, y, scale)
            y += _ROW
        y += _GAP
    if caption:
        lines.append(svg_text(12, y + 14, caption, "fill='#555555'"))
        y += 28
    return svg_document(title, WIDTH, y, lines)


def _draw_bar(bar: Bar, y: int, scale: float) -> list[str]:
    lines = [svg_text(LABELS - 8, y + 16, _shorten(bar.label), "text-anchor='end'")]
    height = (_ROW - 6) / len(bar.values)
    for index, (value, color) in enumerate(bar.values):
        lines.append(
            f"<rect x='{LABELS}' y='{y + 3 + index * height:g}' width='{value * scale:.1f}' "
            f"height='{height:g}' fill='{color}'/>"
        )
    first = LABELS + bar.values[0][0] * scale
    end = max(first, LABELS + bar.whisker * scale)
    if bar.whisker:
        lines.append(f"<path d='M{first:.1f} {y + 12}H{end:.1f}' stroke='#222222'/>")
    return [*lines, svg_text(end + 6, y + 16, bar.text, "")]


def _shorten(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


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
