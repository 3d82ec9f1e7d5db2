"""A training run's curves as a standalone SVG, drawn with nothing but text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gmme_edge.report.render.svg import BLUE, GREY, ORANGE, svg_document, svg_text

Points = Sequence[tuple[float, float]]

_WIDTH, _LEFT, _RIGHT = 820, 64, 132
_TOP, _TITLE, _BELOW = 40, 30, 46
_MAX_POINTS = 600  # about one per pixel
_LABEL_GAP = 16
_QUIET = "fill='#555555' font-size='12'"


@dataclass(frozen=True)
class _Curve:
    name: str
    points: Points
    color: str


@dataclass(frozen=True)
class _Panel:
    """Curves over one y axis; `percent` says that values are shares."""

    title: str
    curves: Sequence[_Curve]
    height: int
    percent: bool = False

    def format(self, value: float) -> str:
        if self.percent:
            return f"{100 * value:.3g} %"
        return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 1e-3 else f"{value:.3g}"

    def scale(self) -> tuple[float, float, list[float]]:
        """The lowest and highest y, both ticks, and the ticks."""
        values = [y for curve in self.curves for _, y in curve.points]
        low, high = min(values), max(values)
        least = 0.05 if self.percent else abs(high) / 20 or 1.0
        if high - low < least:
            low, high = low - least / 2, high + least / 2
        if self.percent:
            low, high = max(low, 0.0), min(high, 1.0)
        ticks = _ticks(low, high, self.height / 45)
        return ticks[0], ticks[-1], ticks


def draw_curves(
    title: str,
    epochs: Sequence[Mapping[str, float]],
    rates: Points = (),
    watched: str = "test",
    mixing_from: int | None = None,
) -> str:
    """Loss, training accuracy, accuracy on the watched clips and learning rate over the epochs.

    Args:
        epochs: per epoch ``epoch``, ``loss``, ``accuracy`` and perhaps ``monitor_accuracy``;
            at least one.
        rates: (epochs done, learning rate).
        watched: the name of the clips that ``monitor_accuracy`` is of.
        mixing_from: epochs after which mixing starts, which changes loss and training accuracy.
    """

    def curve(name: str, key: str, color: str) -> _Curve:
        return _Curve(name, [(e["epoch"], e[key]) for e in epochs if key in e], color)

    accuracies = [curve("training", "accuracy", BLUE), curve(watched, "monitor_accuracy", ORANGE)]
    panels = [
        _Panel("Loss", [curve("training", "loss", BLUE)], 170),
        _Panel("Accuracy", [c for c in accuracies if c.points], 220, percent=True),
    ]
    if rates:
        panels.append(_Panel("Learning rate", [_Curve("", rates, GREY)], 60))
    end = max(epochs[-1]["epoch"], 2.0)
    lines, y = [svg_text(12, 24, title, "font-weight='bold' font-size='15'")], _TOP
    for panel in panels:
        y += _TITLE
        lines += _draw_panel(panel, y, end, mixing_from)
        y += panel.height
    for tick in _ticks(0, end, 10):
        if tick == int(tick) and tick <= end:
            lines.append(
                svg_text(_x(tick, end), y + 18, f"{tick:.0f}", f"text-anchor='middle' {_QUIET}")
            )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(svg_text(middle, y + 38, "epoch", f"text-anchor='middle' {_QUIET}"))
    return svg_document(f"Training curves of {title}", _WIDTH, y + _BELOW, lines)


def _draw_panel(panel: _Panel, top: int, end: float, mixing_from: int | None) -> list[str]:
    low, high, ticks = panel.scale()

    def place(value: float) -> float:
        return top + panel.height * (high - value) / (high - low)

    right, bottom = _WIDTH - _RIGHT, top + panel.height
    lines = [svg_text(_LEFT, top - 9, panel.title, "font-weight='bold'")]
    for tick in ticks:
        y = place(tick)
        lines.append(f"<path d='M{_LEFT} {y:.1f}H{right}' stroke='#e3e5e8'/>")
        text = panel.format(tick)
        lines.append(svg_text(_LEFT - 8, y + 4, text, f"text-anchor='end' {_QUIET}"))
    lines.append(f"<path d='M{_LEFT} {bottom}H{right}' stroke='#8a8f98'/>")
    if mixing_from is not None and 0 < mixing_from < end:
        x = _x(mixing_from, end)
        lines.append(f"<path d='M{x:.1f} {top}V{bottom}' stroke='#8a8f98' stroke-dasharray='3 4'/>")
        if panel.title == "Loss":
            lines.append(svg_text(x + 6, top + 12, "mixing starts", _QUIET))
    labels = []
    for curve in panel.curves:
        spots = [(_x(x, end), place(y)) for x, y in _thin(curve.points)]
        lines.append(_draw_line(spots, curve.color))
        if curve.name:
            text = f"{curve.name} {panel.format(curve.points[-1][1])}"
            labels.append((spots[-1], text, curve.color))
    return lines + _draw_labels(labels)


def _draw_line(spots: Points, color: str) -> str:
    if len(spots) == 1:
        return f"<circle cx='{spots[0][0]:.1f}' cy='{spots[0][1]:.1f}' r='3.5' fill='{color}'/>"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    return (
        f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.8' "
        "stroke-linejoin='round'/>"
    )


def _draw_labels(labels: Sequence[tuple[tuple[float, float], str, str]]) -> list[str]:
    """Each curve's name and last value behind its end, moved apart where they would overlap."""
    lines, lowest = [], -math.inf
    for (x, y), text, color in sorted(labels, key=lambda label: label[0][1]):
        lowest = max(y + 4, lowest + _LABEL_GAP)
        lines.append(svg_text(x + 8, lowest, text, f"fill='{color}'"))
    return lines


def _x(epoch: float, end: float) -> float:
    return _LEFT + (_WIDTH - _RIGHT - _LEFT) * epoch / end


def _thin(points: Points) -> Points:
    """Every k-th point, and the last."""
    stride = -(-len(points) // _MAX_POINTS)
    return [*points[:-1:stride], points[-1]]


def _ticks(low: float, high: float, count: float) -> list[float]:
    """About `count` round numbers, the first at or below `low` and the last at or above `high`."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]
