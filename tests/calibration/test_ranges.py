from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from gmme_calibration.ranges import Ranges, calibrate_ranges
from gmme_exporters.int8 import OP_TYPES
from tests.artifacts import sounds


@pytest.fixture(scope="module")
def prepared(bundle: Path) -> Path:
    return bundle.with_name("prepared.onnx")


@pytest.fixture(scope="module")
def ranges(prepared: Path) -> Ranges:
    return calibrate_ranges(prepared, sounds(), OP_TYPES)


def test_ranges_are_the_means_of_each_clips_extremes(prepared: Path, ranges: Ranges) -> None:
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
        expected = np.mean([v.min() for v in values]), np.mean([v.max() for v in values])
        assert ranges[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)


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


def test_two_clips_meet_in_the_middle(prepared: Path) -> None:
    one, other = (calibrate_ranges(prepared, sounds()[i : i + 1], OP_TYPES) for i in (0, 7))
    both = calibrate_ranges(prepared, sounds()[[0, 7]], OP_TYPES)
    assert both == {
        name: pytest.approx(
            tuple((a + b) / 2 for a, b in zip(one[name], other[name], strict=True)),
            rel=1e-4, abs=1e-5,
        )
        for name in one
    }  # fmt: skip
    assert any(one[name][1] < 0.9 * other[name][1] for name in one), "the clips differ"
