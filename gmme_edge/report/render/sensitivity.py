"""What quantizing each part of a network costs, as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gmme_edge.report.render.svg import BLUE, GREY, Bar, BarGroup, draw_bars

_MOST_DB = 60.0  # further to the right nothing is worth telling apart
_CAPTION = (
    "Signal-to-quantization-noise of the logits, longer is better; blue: only this part is "
    "INT8, grey: all others are."
)


def draw_sensitivity_chart(title: str, effects: Sequence[Mapping[str, Any]]) -> str:
    """Two bars per part: the SQNR when it alone, and when all the others, are quantized.

    Args:
        effects: with the fields of `gmme_calibration.sensitivity.Effect`.
    """
    bars = [
        Bar(
            effect["part"],
            [
                (_shown_db(effect["sqnr_alone_db"]), BLUE),
                (_shown_db(effect["sqnr_others_db"]), GREY),
            ],
            f"{in_db(effect['sqnr_alone_db'])} dB",
        )
        for effect in effects
    ]
    return draw_bars(title, [BarGroup(title, bars, _MOST_DB)], _CAPTION)


def in_db(sqnr_db: float | None) -> str:
    """One decimal; ∞ where there is no noise."""
    return "∞" if sqnr_db is None else f"{sqnr_db:.1f}"


def _shown_db(sqnr_db: float | None) -> float:
    return min(max(_MOST_DB if sqnr_db is None else sqnr_db, 0.0), _MOST_DB)
