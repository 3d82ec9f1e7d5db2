"""What quantizing each part of a network costs, as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gmme_edge.report.render.latency_chart import svg_document, svg_text

_WIDTH, _LEFT, _BARS, _ROW, _TOP = 820, 230, 480, 24, 44
_ALONE, _OTHERS = "#2b6cb0", "#8a8f98"
_MOST_DB = 60.0  # further to the right nothing is worth telling apart


def draw_sensitivity_chart(title: str, effects: Sequence[Mapping[str, Any]]) -> str:
    """Two bars per part: the SQNR when it alone, and when all the others, are quantized.

    Args:
        effects: with the fields of `gmme_calibration.sensitivity.Effect`.
    """
    lines = [svg_text(12, 26, title, "font-weight='bold'")]
    for index, effect in enumerate(effects):
        y = _TOP + index * _ROW
        lines.append(svg_text(_LEFT - 8, y + 15, effect["part"], "text-anchor='end'"))
        for field, color, top in (("sqnr_alone_db", _ALONE, 2), ("sqnr_others_db", _OTHERS, 11)):
            width = _width(effect[field])
            lines.append(
                f"<rect x='{_LEFT}' y='{y + top}' width='{width:.1f}' height='8' fill='{color}'/>"
            )
        width, label = _width(effect["sqnr_alone_db"]), f"{in_db(effect['sqnr_alone_db'])} dB"
        lines.append(svg_text(_LEFT + width + 6, y + 11, label, "fill='#222'"))
    y = _TOP + len(effects) * _ROW
    lines.append(
        svg_text(
            12, y + 18,
            "Signal-to-quantization-noise of the logits, longer is better; blue: only this part is "
            "INT8, grey: all others are.",
            "fill='#555555'",
        )
    )  # fmt: skip
    return svg_document(title, _WIDTH, y + 32, lines)


def in_db(sqnr_db: float | None) -> str:
    """One decimal; ∞ where there is no noise."""
    return "∞" if sqnr_db is None else f"{sqnr_db:.1f}"


def _width(sqnr_db: float | None) -> float:
    return min(max(_MOST_DB if sqnr_db is None else sqnr_db, 0.0), _MOST_DB) / _MOST_DB * _BARS
