from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from gmme_calibration.ranges import Ranges, calibrate_ranges
from gmme_calibration.sample import Windows
from gmme_calibration.thresholds import METHODS, Method
from gmme_edge.data.store import WaveformStore, end_to_end
from gmme_edge.errors import CheckpointError
from gmme_exporters.int8.qdq import OP_TYPES
from tests.artifacts import sounds
from tests.calibration import graphs


@pytest.fixture(scope="module")
def prepared(bundle: Path) -> Path:
    return bundle.with_name("prepared.onnx")


@pytest.fixture(scope="module")
def ranges(prepared: Path) -> Ranges:
    return calibrate_ranges(prepared, sounds(), OP_TYPES)


def test_ranges_are_the_clips_extremes_on_average_and_a_deviation(
    prepared: Path, ranges: Ranges
) -> None:
    """The same tensors, taken out of the graph whole and reduced by numpy."""
    proto = onnx.load(prepared)
    outputs = {value.name for value in proto.graph.output}
    inner = sorted(set(ranges) - outputs - {"waveform"})
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    per_clip = [session.run(inner, {"waveform": clip[None]}) for clip in sounds()]
    assert len(inner) > 30
    for name, values in zip(inner, zip(*per_clip, strict=True), strict=True):
        lows, highs = [v.min() for v in values], [v.max() for v in values]
        low = max(np.mean(lows) - np.std(lows), min(lows))
        high = min(np.mean(highs) + np.std(highs), max(highs))
        assert ranges[name] == pytest.approx((low, high), rel=1e-4, abs=1e-5)


def test_every_quantized_operator_has_ranges(prepared: Path, ranges: Ranges) -> None:
    graph = onnx.load(prepared).graph
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in OP_TYPES:
            assert ({*node.input, *node.output} - constants - {""}) <= set(ranges), node.name


def test_ranges_do_not_depend_on_the_order_of_the_clips(prepared: Path, ranges: Ranges) -> None:
    progress: list[tuple[int, int]] = []
    found = calibrate_ranges(
        prepared, sounds()[::-1], OP_TYPES, lambda done, total: progress.append((done, total))
    )
    assert set(found) == set(ranges)
    for name, extremes in found.items():
        assert extremes == pytest.approx(ranges[name], rel=1e-4, abs=1e-5)
    assert progress == [(i, 10) for i in range(1, 11)]


def test_two_clips_meet_in_the_middle_and_a_deviation_from_it_both_fit(prepared: Path) -> None:
    one, other = (calibrate_ranges(prepared, sounds()[i : i + 1], OP_TYPES) for i in (0, 7))
    pair = sounds()[[0, 7]]
    middle = calibrate_ranges(prepared, pair, OP_TYPES, method=Method("mean"))
    wide = calibrate_ranges(prepared, pair, OP_TYPES)
    for name, (low, high) in one.items():
        lows, highs = (low, other[name][0]), (high, other[name][1])
        means = sum(lows) / 2, sum(highs) / 2
        assert middle[name] == pytest.approx(means, rel=1e-4, abs=1e-5)
        assert wide[name] == pytest.approx((min(lows), max(highs)), rel=1e-4, abs=1e-5)
    assert any(one[name][1] < 0.9 * other[name][1] for name in one), "the clips differ"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return graphs.two_convs(tmp_path / "small.onnx")


def small_ranges(small: Path, clips: np.ndarray, method: str) -> Ranges:
    return calibrate_ranges(small, clips, graphs.OP_TYPES, method=Method.parse(method))


@pytest.mark.parametrize("n_clips", [1, 9])
def test_methods_agree_with_all_values_at_once(small: Path, n_clips: int) -> None:
    """Each method's definition, on the values of all clips computed and kept by numpy."""
    clips = graphs.clips(n_clips)
    per_clip = [graphs.tensors_of(clip) for clip in clips]
    found = {name: small_ranges(small, clips, name) for name in ("mean+std", "mean", "minmax")}
    tails = small_ranges(small, clips, "percentile:90")
    assert set(tails) == set(graphs.TENSORS)
    for name in graphs.TENSORS:
        values = np.stack([tensors[name] for tensors in per_clip])
        flat = values.reshape(n_clips, -1)
        assert found["minmax"][name] == pytest.approx((values.min(), values.max()), rel=1e-5)
        means = flat.min(axis=1).mean(), flat.max(axis=1).mean()
        assert found["mean"][name] == pytest.approx(means, rel=1e-5)
        low, high = means[0] - flat.min(axis=1).std(), means[1] + flat.max(axis=1).std()
        within = max(low, values.min()), min(high, values.max())
        assert found["mean+std"][name] == pytest.approx(within, rel=1e-5)
        width = 2 * float(np.abs(values).max()) / 4096
        gap = 0.15 * float(values.std())  # between the neighbours of a percentile
        expected = np.percentile(values, [5, 95])
        assert tails[name] == pytest.approx(tuple(expected), abs=2 * width + gap)


@pytest.mark.parametrize("name", METHODS)
def test_clips_in_another_order_give_the_same(small: Path, name: str) -> None:
    clips = graphs.clips(7)
    found = small_ranges(small, clips, name)
    assert small_ranges(small, clips[::-1], name) == {
        tensor: pytest.approx(ends, rel=1e-6) for tensor, ends in found.items()
    }
    low, high = found["rectified"]
    assert low == 0 < high


def test_progress_counts_both_runs(small: Path) -> None:
    seen: list[tuple[int, int]] = []
    calibrate_ranges(
        small, graphs.clips(3), graphs.OP_TYPES, lambda *step: seen.append(step), Method("mse")
    )
    assert seen == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize("name", METHODS)
def test_nan_is_refused(tmp_path: Path, name: str) -> None:
    broken = graphs.two_convs(tmp_path / "nan.onnx", nan=True)
    with pytest.raises(CheckpointError, match="NaN or infinite on calibration clip 0"):
        small_ranges(broken, graphs.clips(2), name)


def test_infinity_is_refused_with_its_clip(small: Path) -> None:
    clips = graphs.clips(3)
    clips[2] = 3e38  # times a weight above 1
    with pytest.raises(CheckpointError, match="calibration clip 2"):
        small_ranges(small, clips, "mean")


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("name", ["mean", "entropy"])
def test_memory_does_not_grow_with_the_clips(small: Path, tmp_path: Path, name: str) -> None:
    """1,000 clips of a store on disk, so far apart that each touches pages of its own."""
    length, n_clips = 250_000, 1000
    path = tmp_path / "samples.f32"
    with path.open("wb") as file:
        file.truncate(length * n_clips * 4)  # a hole: no disk space
    store = WaveformStore(
        np.memmap(path, "<f4", "r"), end_to_end([length] * n_clips),
        np.zeros(n_clips, np.int64), (path,) * n_clips, (), (),
    )  # fmt: skip
    levels: list[int] = []

    def watch(done: int, total: int) -> None:
        if done % 50 == 0:
            levels.append(resident_bytes())

    windows = Windows(store, graphs.N_SAMPLES, tuple(range(n_clips)))
    calibrate_ranges(small, windows, graphs.OP_TYPES, watch, Method(name))
    assert levels[-1] - levels[0] < 8e6, "bytes"
