"""The power that a meter told while rows ran in turn, as SVG: one strip per trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gmme_edge.profiling.energy_result import PowerTrace, PowerWindow
from gmme_edge.report.render.svg import BLUE, GREY, ORANGE, WIDTH, svg_document, svg_text

_LEFT, _RIGHT, _TOP, _HEIGHT, _STRIP, _LINE = 64, 20, 44, 170, 60, 18
_Scale = Callable[[float], float]
_TINTS = ("#dbe7f5", "#f7e3d6", "#dcefe0", "#efe0f0", "#f3efd2", "#dde0e4")


def draw_power(traces: Sequence[PowerTrace], names: Sequence[str]) -> str:
    """Power over time; each row's windows have a tint of their own, idle ones have none."""
    lines: list[str] = []
    top = 0
    for trace in traces:
        strip, height = _draw_trace(trace, names, top)
        lines += strip
        top += height
    return svg_document("Power over time", WIDTH, top, lines)


def _draw_trace(trace: PowerTrace, names: Sequence[str], top: int) -> tuple[list[str], int]:
    end_s = max([*trace.times_s, *(window.end_s for window in trace.windows)], default=1.0)
    most, least = max([*trace.watts, 0.0]) * 1.05 or 1.0, min([*trace.watts, 0.0])
    base, width = top + _TOP + _HEIGHT, WIDTH - _LEFT - _RIGHT

    def x(time_s: float) -> float:
        return _LEFT + width * time_s / end_s

    def y(watts: float) -> float:
        return base - _HEIGHT * (watts - least) / (most - least)

    rows = sorted({window.row for window in trace.windows if window.row is not None})
    tints = {row: _TINTS[index % len(_TINTS)] for index, row in enumerate(rows)}
    title = f"{trace.meter}: a new value every {1000 * trace.update_step_s:.1f} ms"
    lines = [svg_text(12, top + 24, title, "font-weight='bold'")]
    for window in trace.windows:
        fill = "#ffffff" if window.row is None else tints[window.row]
        lines.append(
            f"<rect x='{x(window.start_s):.1f}' y='{top + _TOP}' height='{_HEIGHT}' "
            f"width='{x(window.end_s) - x(window.start_s):.1f}' fill='{fill}'/>"
        )
    for k in range(5):
        watts = least + (most - least) * k / 4
        lines.append(f"<path d='M{_LEFT} {y(watts):.1f}h{width}' stroke='#e3e5e8'/>")
        lines.append(svg_text(_LEFT - 8, y(watts) + 4, f"{watts:.1f} W", "text-anchor='end'"))
    points = " ".join(
        f"{x(t):.1f},{y(w):.1f}" for t, w in zip(trace.times_s, trace.watts, strict=True)
    )
    lines.append(f"<polyline points='{points}' fill='none' stroke='{BLUE}'/>")
    lines += [_mean_line(trace, window, x, y) for window in trace.windows]
    lines.append(svg_text(_LEFT, base + 18, "0 s", f"fill='{GREY}'"))
    lines.append(svg_text(_LEFT + width, base + 18, f"{end_s:.1f} s", "text-anchor='end'"))
    for index, row in enumerate(rows):
        line_y = base + 38 + index * _LINE
        lines.append(
            f"<rect x='{_LEFT}' y='{line_y - 11}' width='14' height='14' fill='{tints[row]}'/>"
        )
        lines.append(svg_text(_LEFT + 22, line_y, names[row], ""))
    return lines, _TOP + _HEIGHT + _STRIP + _LINE * len(rows)


def _mean_line(trace: PowerTrace, window: PowerWindow, x: _Scale, y: _Scale) -> str:
    inside = [
        watts
        for time_s, watts in zip(trace.times_s, trace.watts, strict=True)
        if window.start_s <= time_s <= window.end_s
    ]
    if not inside:
        return ""
    height = y(sum(inside) / len(inside))
    start, end = x(window.start_s), x(window.end_s)
    return f"<path d='M{start:.1f} {height:.1f}H{end:.1f}' stroke='{ORANGE}' stroke-width='2'/>"
