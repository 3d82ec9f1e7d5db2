"""Energy per clip from a meter whose truth is known, on a clock that the test turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gmme_edge.device.energy.meter import Meters, Unreadable
from gmme_edge.errors import PlatformError
from gmme_edge.profiling import opened, power, windows
from gmme_edge.profiling.energy import EnergySettings, choose_meters, measure_energy
from gmme_edge.profiling.latency import Contender
from gmme_edge.profiling.power import Recording, make_trace, measure_update_step
from gmme_edge.report.render.power import draw_power
from tests.bundles import make_bundle

IDLE_W, CALL_S = 2.0, 0.004
CALL_J = {"fp32": 0.040, "int8-ort": 0.010}


class World:
    """A machine: a clock, the energy that it took so far, and whoever reads the meter meanwhile."""

    def __init__(self) -> None:
        self.now_s, self.joules, self.step_s = 0.0, 0.0, 0.005
        self.recording: Recording | None = None

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float, call_j: float = 0.0) -> None:
        steps = max(1, round(seconds / 0.001))
        for _ in range(steps):
            self.now_s += seconds / steps
            self.joules += IDLE_W * seconds / steps + call_j / steps
            if self.recording:
                self.recording.sample()


class FakeMeter:
    """A counter that is renewed every 5 ms, or the power of the last millisecond."""

    name, scope = "fake", "board"

    def __init__(self, world: World, counts_energy: bool) -> None:
        self._world, self.counts_energy = world, counts_energy
        self._before = (0.0, 0.0)
        self._renewed = (-1, 0.0)
        self._power = 0.0

    def read(self) -> float:
        now_s, joules = self._world.now_s, self._world.joules
        if self.counts_energy:
            period = int(now_s / 0.005)
            if period != self._renewed[0]:
                self._renewed = (period, joules)
            return self._renewed[1]
        if now_s > self._before[0]:
            self._power = (joules - self._before[1]) / (now_s - self._before[0])
            self._before = (now_s, joules)
        return self._power


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    @contextmanager
    def record(meter: FakeMeter, step_s: float) -> Iterator[Recording]:
        made.recording = Recording(meter, step_s)
        yield made.recording

    def open_session(bundle: object, backend: str, precision: str, *_: object) -> SimpleNamespace:
        run: Callable[[object], None] = lambda _: made.sleep(CALL_S, CALL_J[precision])  # noqa: E731
        return SimpleNamespace(run=run, close=lambda: None)

    monkeypatch.setattr(windows, "time", made)
    monkeypatch.setattr(power, "time", made)
    monkeypatch.setattr(windows, "measure_update_step", lambda _: made.step_s)
    monkeypatch.setattr(windows, "record", record)
    monkeypatch.setattr(opened, "open_session", open_session)
    return made


@pytest.mark.parametrize("counts_energy", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
def test_idle_is_subtracted_and_a_clip_takes_what_it_takes(
    tmp_path: Path, world: World, counts_energy: bool, batch: int
) -> None:
    bundle = make_bundle(tmp_path, precisions=tuple(CALL_J))
    contenders = [Contender(bundle, "ort-cpu", name, 1, batch) for name in CALL_J]
    meter = FakeMeter(world, counts_energy)
    energies, (trace,) = measure_energy(contenders, {meter: [0, 1]}, EnergySettings(3, 0.2))
    for each, call_j in zip(energies, CALL_J.values(), strict=True):
        assert len(each.net_mj) == 3
        assert each.mean_mj == pytest.approx(1000 * call_j / batch, rel=0.03)
        idle_mj = 1000 * IDLE_W * CALL_S / batch
        assert np.mean(each.gross_mj) == pytest.approx(each.mean_mj + idle_mj, rel=0.03)
        assert each.idle_w == pytest.approx(IDLE_W, rel=0.02)
        assert each.busy_w == pytest.approx(IDLE_W + call_j / CALL_S, rel=0.03)
        low, high = each.interval_mj or (0, 0)
        assert low <= each.mean_mj <= high
    assert [w.row for w in trace.windows][::3] == [None] * 4  # idle around every round
    assert sorted(w.row for w in trace.windows if w.row is not None) == [0, 0, 0, 1, 1, 1]
    drawn = draw_power([trace], ["first", "second <b>"])
    assert "second &lt;b&gt;" in drawn and drawn.count("polyline") == 1


def test_windows_last_twenty_updates_of_a_slow_meter(tmp_path: Path, world: World) -> None:
    contenders = [Contender(make_bundle(tmp_path), "ort-cpu", "fp32", 1)]
    world.step_s = 0.1
    _, (trace,) = measure_energy(contenders, {FakeMeter(world, True): [0]}, EnergySettings(2, 0.01))
    assert all(w.end_s - w.start_s >= 1.99 for w in trace.windows)


def test_the_update_step_is_measured(world: World) -> None:
    assert measure_update_step(FakeMeter(world, True), world.perf_counter) == pytest.approx(
        0.005, abs=0.0011
    )


def test_a_meter_that_stands_still_is_no_meter(world: World) -> None:
    still = SimpleNamespace(name="still", scope="board", counts_energy=False, read=lambda: 5.0)
    with pytest.raises(PlatformError, match="changed 0 times"):
        measure_update_step(still, world.perf_counter)


def test_a_counter_rises_evenly_between_its_updates() -> None:
    trace = make_trace([0, 1, 2, 3, 4], [10, 10, 14, 14, 18], counts_energy=True)
    assert trace.times_s.tolist() == [0, 2, 4]
    assert trace.energy_j(1, 3) == pytest.approx(4)


def test_power_is_integrated_whatever_the_times_between_readings() -> None:
    trace = make_trace([0, 1, 3], [2, 4, 4], counts_energy=False)
    assert trace.energy_j(0, 3) == pytest.approx(3 + 8)


def test_without_a_source_nothing_is_estimated(tmp_path: Path) -> None:
    contenders = [Contender(make_bundle(tmp_path), "ort-cpu", "fp32", 1)]
    with pytest.raises(PlatformError, match="shows no source"):
        choose_meters(Meters(), contenders)
    locked = Meters([], [Unreadable("RAPL", "only root may read", "sudo chmod a+r x")])
    with pytest.raises(PlatformError, match="Fix: sudo chmod a\\+r x"):
        choose_meters(locked, contenders)


def test_a_thread_records_until_the_block_ends() -> None:
    reads = iter(range(10**9))
    meter = SimpleNamespace(
        name="m", scope="board", counts_energy=True, read=lambda: float(next(reads))
    )
    with power.record(meter, 0.001) as recording:
        while len(recording.values) < 3:
            power.time.sleep(0.005)
    n = len(recording.values)
    assert recording.trace().joules[-1] == n - 1
    power.time.sleep(0.03)
    assert len(recording.values) == n


def test_a_meter_that_goes_away_is_told() -> None:
    def read() -> float:
        raise OSError("gone")

    meter = SimpleNamespace(name="m", scope="board", counts_energy=True, read=read)
    with power.record(meter, 0.001) as recording:
        while recording.error is None:
            power.time.sleep(0.001)
    with pytest.raises(PlatformError, match="m could not be read: gone"):
        recording.trace()


def test_a_trace_begins_before_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may start the reading thread after the first window has ended."""

    class Meter:
        name, scope, counts_energy = "m", "board", True

        def read(self) -> float:
            return 1.0

    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    monkeypatch.setattr(threading.Thread, "join", lambda _: None)
    with power.record(Meter(), 0.01) as recording:
        assert len(recording.times_s) == 1 and recording.times_s[0] <= time.perf_counter()
