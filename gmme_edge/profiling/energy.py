"""Energy per clip: windows of calls without a pause, between windows in which nothing runs.

What the machine takes while it idles is subtracted, measured just before and just after.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gmme_edge.device.energy.meter import Meter, Meters
from gmme_edge.errors import PlatformError
from gmme_edge.profiling.energy_result import Energy, PowerTrace, PowerWindow
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.profiling.latency import Contender
from gmme_edge.profiling.power import Recording, Trace, measure_update_step, record
from gmme_edge.runtime.backends import BACKENDS, open_session
from gmme_edge.runtime.engines.cache import Rebuild

STEPS_PER_WINDOW = 20
"""A window lasts at least so many updates of its meter, so that one of them is 5 % of it."""

_SETTLE_S, _MOST_POINTS = 0.2, 5000


@dataclass(frozen=True)
class EnergySettings:
    """Windows per contender, their least length, and the seed of the contenders' order."""

    rounds: int = 5
    window_s: float = 1.0
    seed: int = 0


def choose_meters(meters: Meters, contenders: Sequence[Contender]) -> dict[Meter, list[int]]:
    """The meter of each contender, with the contenders' positions.

    Raises:
        PlatformError: a contender has none; the message tells what mends those that are there.
    """
    chosen: dict[Meter, list[int]] = {}
    for index, contender in enumerate(contenders):
        meter = meters.choose(on_gpu=not BACKENDS[contender.backend].on_cpu)
        if meter is None:
            found = "\n".join(map(str, meters.unreadable)) or "This machine shows no source."
            raise PlatformError(
                f"The energy of {contender.backend} cannot be measured here. {found}",
                "a readable source: power rails of a board, NVML's counter, or RAPL; "
                "virtual machines and containers mostly hide them.",
                "see above, or leave --energy out: nothing is estimated.",
            )
        chosen.setdefault(meter, []).append(index)
    return chosen


def measure_energy(
    contenders: Sequence[Contender],
    meters: dict[Meter, list[int]],
    settings: EnergySettings,
    on_progress: Callable[[int, int], None] | None = None,
    rebuild: Rebuild | None = None,
) -> tuple[list[Energy], list[PowerTrace]]:
    """Energy of every contender, and the traces that it follows from.

    Raises:
        PlatformError: a meter stands still or goes away.
        GmmeEdgeError: whatever a session raises.
    """
    energies: dict[int, Energy] = {}
    traces = []
    total = settings.rounds * (len(contenders) + len(meters)) + len(meters)
    done = iter(range(1, total + 1))
    tell = (lambda: on_progress(next(done), total)) if on_progress else (lambda: None)
    for meter, rows in meters.items():
        step_s = measure_update_step(meter)
        with contextlib.ExitStack() as stack:
            runs = {row: _open(contenders[row], rebuild, stack) for row in rows}
            recording = stack.enter_context(record(meter, step_s))
            windows = _run_windows(runs, recording, step_s, settings, tell)
        trace = recording.trace()
        for row in rows:
            energies[row] = _energy(trace, windows, row, contenders[row].batch, meter)
        traces.append(_stored(trace, windows, meter, step_s))
    return [energies[row] for row in range(len(contenders))], traces


def _open(
    contender: Contender, rebuild: Rebuild | None, stack: contextlib.ExitStack
) -> Callable[[], object]:
    """One call of a contender."""
    session = open_session(
        contender.bundle, contender.backend, contender.precision, contender.threads, rebuild
    )
    stack.callback(session.close)
    clips = golden_batch(contender.bundle, contender.batch)
    return lambda: session.run(clips)


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
) -> Energy:
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
    return Energy(
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
