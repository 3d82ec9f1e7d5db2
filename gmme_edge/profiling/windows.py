"""Windows of calls without a pause, between windows in which nothing runs, beside a meter.

The script for boards takes this module in as it is, so it keeps to Python 3.8 and numpy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gmme_edge.device.energy.meter import Meter
from gmme_edge.fields import Count, NotNegative, Number, Positive, Text
from gmme_edge.profiling.power import Recording, Trace, measure_update_step, record

STEPS_PER_WINDOW = 20
"""A window lasts at least so many updates of its meter, so that one of them is 5 % of it."""

_SETTLE_S, _MOST_POINTS = 0.2, 5000


@dataclass(frozen=True)
class EnergySettings:
    """Windows per contender, their least length, and the seed of the contenders' order."""

    rounds: int = 5
    window_s: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class ClipEnergy:
    """What one clip takes; `energy_result.Energy` explains it, and adds what follows."""

    meter: Text
    scope: Text
    net_mj: tuple[Number, ...]
    gross_mj: tuple[Number, ...]
    idle_w: Number
    busy_w: Number
    calls: Count


@dataclass(frozen=True)
class PowerWindow:
    """A stretch of a trace; `row` is the result's row that ran, null where nothing did."""

    row: int | None
    start_s: NotNegative
    end_s: NotNegative
    calls: int = 0


@dataclass(frozen=True)
class PowerTrace:
    """What a meter told while rows ran in turn; `watts` are means between its updates."""

    meter: Text
    scope: Text
    update_step_s: Positive
    times_s: tuple[Number, ...]
    watts: tuple[Number, ...]
    windows: tuple[PowerWindow, ...]


def measure_runs(
    runs: dict[int, Callable[[], object]],
    batches: dict[int, int],
    meter: Meter,
    settings: EnergySettings,
    tell: Callable[[], None],
) -> tuple[dict[int, ClipEnergy], PowerTrace]:
    """What a clip of each row takes, and the trace that it follows from.

    Args:
        runs: by the result's row: one call.
        tell: called after every window.

    Raises:
        PlatformError: the meter stands still or goes away.
    """
    step_s = measure_update_step(meter)
    with record(meter, step_s) as recording:
        windows = _run_windows(runs, recording, step_s, settings, tell)
    trace = recording.trace()
    energies = {row: _energy(trace, windows, row, batches[row], meter) for row in runs}
    return energies, _stored(trace, windows, meter, step_s)


def _run_windows(
    runs: dict[int, Callable[[], object]],
    recording: Recording,
    step_s: float,
    settings: EnergySettings,
    tell: Callable[[], None],
) -> list[PowerWindow]:
    """An idle window, then one of each contender in a random order, and so on; idle at the end."""
    rng = np.random.default_rng(settings.seed)
    length_s = max(settings.window_s, STEPS_PER_WINDOW * step_s)
    settle_s = max(_SETTLE_S, 2 * recording.interval_s)
    windows = []
    for _ in range(settings.rounds):
        windows.append(_window(None, None, length_s, settle_s))
        tell()
        for row in map(int, rng.permutation(list(runs))):
            windows.append(_window(row, runs[row], length_s, settle_s))
            tell()
    windows.append(_window(None, None, length_s, settle_s))
    tell()
    time.sleep(2 * recording.interval_s)  # so that the trace goes on beyond the last window
    return windows


def _window(
    row: int | None, run: Callable[[], object] | None, length_s: float, settle_s: float
) -> PowerWindow:
    """Calls without a pause, or a pause, after a while of the same that does not count."""
    if run is None:
        time.sleep(settle_s)
        start_s = time.perf_counter()
        time.sleep(length_s)
        return PowerWindow(None, start_s, time.perf_counter())
    settled_s = time.perf_counter() + settle_s
    run()
    while time.perf_counter() < settled_s:
        run()
    start_s, calls = time.perf_counter(), 0
    while time.perf_counter() < start_s + length_s:
        run()
        calls += 1
    return PowerWindow(row, start_s, time.perf_counter(), calls)


def _energy(
    trace: Trace, windows: Sequence[PowerWindow], row: int, batch: int, meter: Meter
) -> ClipEnergy:
    net_mj, gross_mj, idle_w, busy_w = [], [], [], []
    for index, window in enumerate(windows):
        if window.row != row:
            continue
        before = next(w for w in reversed(windows[:index]) if w.row is None)
        after = next(w for w in windows[index:] if w.row is None)
        idle_w.append((_power_w(trace, before) + _power_w(trace, after)) / 2)
        busy_w.append(_power_w(trace, window))
        per_clip_s = (window.end_s - window.start_s) / (window.calls * batch)
        net_mj.append(1000 * per_clip_s * (busy_w[-1] - idle_w[-1]))
        gross_mj.append(1000 * per_clip_s * busy_w[-1])
    return ClipEnergy(
        meter=meter.name,
        scope=meter.scope,
        net_mj=tuple(net_mj),
        gross_mj=tuple(gross_mj),
        idle_w=float(np.mean(idle_w)),
        busy_w=float(np.mean(busy_w)),
        calls=sum(window.calls for window in windows if window.row == row),
    )


def _power_w(trace: Trace, window: PowerWindow) -> float:
    return trace.energy_j(window.start_s, window.end_s) / (window.end_s - window.start_s)


def _stored(
    trace: Trace, windows: Sequence[PowerWindow], meter: Meter, step_s: float
) -> PowerTrace:
    """With times from the trace's start, and at most `_MOST_POINTS` points, which are means."""
    every = -(-len(trace.times_s) // _MOST_POINTS)
    times_s, watts = Trace(trace.times_s[::every], trace.joules[::every]).watts()
    zero_s = float(trace.times_s[0])
    return PowerTrace(
        meter=meter.name,
        scope=meter.scope,
        update_step_s=step_s,
        times_s=tuple(round(float(t) - zero_s, 5) for t in times_s),
        watts=tuple(round(float(w), 5) for w in watts),
        windows=tuple(
            PowerWindow(w.row, max(0.0, w.start_s - zero_s), w.end_s - zero_s, w.calls)
            for w in windows
        ),
    )
