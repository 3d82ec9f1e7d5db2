from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gmme_edge.complexity import count
from gmme_edge.errors import OutputError, UsageError
from gmme_edge.profiling import latency, opened
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.profiling.latency import Contender, LatencySettings, measure
from gmme_edge.profiling.memory import Memory
from tests.bundles import TINY, make_bundle, tiny_spec


class FakeSessions:
    """Records the order of the calls; stands for every engine."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.closed: list[str] = []
        self.interrupt_at: int | None = None

    def open(self, bundle: object, backend: str, precision: str, *_: object) -> object:
        def run(waveform: np.ndarray) -> dict[str, np.ndarray]:
            if len(self.calls) == self.interrupt_at:
                raise KeyboardInterrupt
            self.calls.append(precision)
            return {}

        return SimpleNamespace(run=run, close=lambda: self.closed.append(precision))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSessions:
    sessions = FakeSessions()
    monkeypatch.setattr(opened, "open_session", sessions.open)
    monkeypatch.setattr(latency, "measure_memory", lambda *_: Memory(2_000_000, 1_500_000))
    return sessions


def contenders(folder: Path, *precisions: str) -> list[Contender]:
    bundle = make_bundle(folder, precisions=precisions)
    return [Contender(bundle, "ort-cpu", precision, 1) for precision in precisions]


def test_every_repetition_visits_all_contenders_in_a_random_order(
    tmp_path: Path, fake: FakeSessions
) -> None:
    rows = measure(contenders(tmp_path, "fp32", "fp16", "int8-ort"), LatencySettings(2, 40))
    rounds = [tuple(fake.calls[i : i + 3]) for i in range(0, len(fake.calls), 3)]
    assert len(rounds) == 42
    assert all(sorted(order) == ["fp16", "fp32", "int8-ort"] for order in rounds)
    assert len(set(rounds)) == 6
    assert [len(row.samples_ms) for row in rows] == [40, 40, 40]


def test_the_seed_fixes_the_order(tmp_path: Path, fake: FakeSessions) -> None:
    taken = contenders(tmp_path, "fp32", "fp16")
    orders = []
    for seed in (5, 5, 6):
        fake.calls.clear()
        measure(taken, LatencySettings(0, 20, seed))
        orders.append(tuple(fake.calls))
    assert orders[0] == orders[1] != orders[2]


def test_ctrl_c_goes_through_and_closes_the_sessions(tmp_path: Path, fake: FakeSessions) -> None:
    fake.interrupt_at = 5
    with pytest.raises(KeyboardInterrupt):
        measure(contenders(tmp_path, "fp32", "fp16"), LatencySettings(0, 20))
    assert sorted(fake.closed) == ["fp16", "fp32"]


def test_progress_counts_calls(tmp_path: Path, fake: FakeSessions) -> None:
    seen: list[tuple[int, int]] = []
    measure(
        contenders(tmp_path, "fp32", "fp16"), LatencySettings(1, 2), lambda *step: seen.append(step)
    )
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_statistics_are_those_of_sorted_samples(tmp_path: Path, fake: FakeSessions) -> None:
    row = measure(contenders(tmp_path, "fp32"), LatencySettings(0, 3))[0]
    values = [float(value) for value in range(1, 102)]
    random.Random(0).shuffle(values)
    row = replace(row, samples_ms=tuple(values), batch=4)
    assert (row.min_ms, row.median_ms, row.p90_ms, row.p99_ms) == (1, 51, 91, 100)
    low, high = row.median_interval_ms
    assert 35 < low < 51 < high < 67
    assert row.throughput_clips_per_s == pytest.approx(4 / 0.051)
    assert row.real_time_factor == pytest.approx(4 * (8192 / 8000) / 0.051)
    for q, value in ((90, row.p90_ms), (99, row.p99_ms)):
        assert value == pytest.approx(np.percentile(values, q))


def test_a_real_measurement(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny", "eat-s-gmme-k32c8")
    row = measure([Contender(bundle, "ort-cpu", "fp32", 1, batch=3)], LatencySettings(1, 5))[0]
    complexity = count(tiny_spec("eat-s-gmme-k32c8"))
    assert (row.model, row.bundle) == ("eat-s-gmme-k32c8", "tiny")
    assert (row.d_params, row.t_params) == (complexity.d_params, complexity.t_params)
    assert row.gflops == complexity.gflops
    assert row.size_bytes == (tmp_path / "tiny" / "model.fp32.onnx").stat().st_size
    assert 0 < row.min_ms <= row.median_ms <= row.p90_ms < 1000
    # Python with numpy takes over 10 MB, ONNX Runtime's library over 5 more.
    assert 10e6 < row.baseline_memory_bytes < row.peak_memory_bytes - 5e6 < 1e9
    assert json.loads(json.dumps(row.to_dict()))["samples_ms"] == list(row.samples_ms)


def test_the_input_repeats_the_golden_waveforms(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    golden = bundle.golden()["waveform"]
    batch = golden_batch(bundle, 5)
    assert batch.shape == (5, TINY.n_samples)
    np.testing.assert_array_equal(batch, golden[[0, 1, 0, 1, 0]])


@pytest.mark.parametrize("settings", [(-1, 1, 0), (0, 0, 0), (0, 1, -1)])
def test_settings_are_checked(settings: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError):
        LatencySettings(*settings)


def test_contenders_are_checked(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    for threads, batch in ((0, 1), (1, 0)):
        with pytest.raises(UsageError):
            Contender(bundle, "ort-cpu", "fp32", threads, batch)
    with pytest.raises(UsageError, match="fp16"):
        measure([Contender(bundle, "ort-cpu", "fp16")], LatencySettings())
    with pytest.raises(UsageError, match="nothing to measure"):
        measure([], LatencySettings())


class OnDevice:
    """A session of which a batch can lie on the device; `off` is added where it is called so."""

    def __init__(self, log: list[str], name: str, off: float) -> None:
        self._log, self._name, self._off = log, name, off

    def run(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        self._log.append(f"{self._name} run")
        return {"logits": waveform[:, :3] + (self._off if "graph" in self._name else 0)}

    def resident(self, waveform: np.ndarray) -> object:
        class Resident:
            def __call__(_self) -> None:  # noqa: N805
                self._log.append(f"{self._name} resident")

            def fetch(_self) -> dict[str, np.ndarray]:  # noqa: N805
                return {"logits": waveform[:, :3] + self._off}

        return Resident()

    def close(self) -> None:
        self._log.append(f"{self._name} close")


@pytest.mark.parametrize("gpu_call", ["resident", "graph", "resident-graph"])
@pytest.mark.parametrize("off", [0.0, 1.0])
def test_another_way_to_call_is_timed_once_it_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_call: str, off: float
) -> None:
    log: list[str] = []

    def open_session(*given: object) -> OnDevice:
        is_graph = len(given) > 5 and given[5]
        return OnDevice(log, "graph" if is_graph else "plain", off)

    monkeypatch.setattr(opened, "open_session", open_session)
    monkeypatch.setattr(latency, "measure_memory", lambda *_: Memory(2_000_000, 1_500_000))
    contender = Contender(make_bundle(tmp_path), "ort-cuda", "fp32", gpu_call=gpu_call)
    if off:
        with pytest.raises(OutputError, match=f"called as {gpu_call} is .* off plain"):
            measure([contender], LatencySettings(0, 3))
        return
    (row,) = measure([contender], LatencySettings(0, 3))
    assert row.gpu_call == gpu_call and len(row.samples_ms) == 3
    timed = f"{'graph' if 'graph' in gpu_call else 'plain'} "
    timed += "resident" if "resident" in gpu_call else "run"
    assert log[-4:] == [timed] * 3 + [f"{timed.split()[0]} close"]
    assert log.count("plain close") == (1 if "graph" in gpu_call else 2)
