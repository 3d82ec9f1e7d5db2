"""Recording a meter: its update step, its readings over time, the energy between two moments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gmme_edge.device.energy.meter import Meter
from gmme_edge.errors import PlatformError

_CHANGES, _LEAST_CHANGES, _PATIENCE_S = 12, 3, 3.0
_POLL_S = 0.0005
_SHORTEST_INTERVAL_S = 0.01  # reading faster would itself take energy


def measure_update_step(meter: Meter, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds between two changes of what the meter reads: the median of some.

    Raises:
        PlatformError: the meter stands still, or went away.
    """
    changes: list[float] = []
    start_s = clock()
    last = _read(meter)
    while len(changes) < _CHANGES and clock() - start_s < _PATIENCE_S:
        time.sleep(_POLL_S)
        value = _read(meter)
        if value != last:
            changes.append(clock())
            last = value
    if len(changes) < _LEAST_CHANGES:
        raise PlatformError(
            f"{meter.name} changed {len(changes)} times in {_PATIENCE_S:g} s.",
            "a meter that follows what the machine takes.",
            "measure without --energy, or on a machine with another source.",
        )
    return float(np.median(np.diff(changes)))


@dataclass(frozen=True)
class Trace:
    """Cumulative energy at moments of the recording's clock."""

    times_s: NDArray[np.float64]
    joules: NDArray[np.float64]

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Between two moments; a counter is taken to rise evenly between its updates."""
        start, end = np.interp([start_s, end_s], self.times_s, self.joules)
        return float(end - start)

    def watts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(middle of each step in seconds, mean power within it)."""
        steps = np.diff(self.times_s)
        return self.times_s[:-1] + steps / 2, np.diff(self.joules) / steps


def make_trace(times_s: list[float], values: list[float], counts_energy: bool) -> Trace:
    """Of a meter's readings: those of a counter where it changed, or power that is integrated."""
    t, v = np.asarray(times_s), np.asarray(values)
    if counts_energy:
        changed = np.concatenate([[True], np.diff(v) != 0])
        return Trace(t[changed], v[changed] - v[0])
    steps = np.diff(t) * (v[1:] + v[:-1]) / 2
    return Trace(t, np.concatenate([[0.0], np.cumsum(steps)]))


@dataclass
class Recording:
    """Readings of a meter by a thread, from `record` on; `trace` is for afterwards."""

    meter: Meter
    interval_s: float
    times_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    error: OSError | None = None

    def sample(self) -> None:
        value = self.meter.read()
        self.times_s.append(time.perf_counter())
        self.values.append(value)

    def trace(self) -> Trace:
        """Raises `PlatformError` where the meter went away meanwhile."""
        if self.error or len(self.values) < 2:
            raise PlatformError(f"{self.meter.name} could not be read: {self.error}.")
        return make_trace(self.times_s, self.values, self.meter.counts_energy)


@contextmanager
def record(meter: Meter, step_s: float) -> Iterator[Recording]:
    """Read the meter once per update step in a thread of its own, until the block ends."""
    recording = Recording(meter, max(step_s, _SHORTEST_INTERVAL_S))
    stop = threading.Event()
    try:
        recording.sample()  # here: the trace begins before what is measured, however busy the CPU
    except OSError as error:
        recording.error = error

    def run() -> None:
        try:
            while not stop.wait(recording.interval_s):
                recording.sample()
        except OSError as error:
            recording.error = error

    thread = threading.Thread(target=run, name="gmme-edge-power", daemon=True)
    thread.start()
    try:
        yield recording
    finally:
        stop.set()
        thread.join()


def _read(meter: Meter) -> float:
    try:
        return meter.read()
    except OSError as error:
        raise PlatformError(f"{meter.name} could not be read: {error}.") from error
