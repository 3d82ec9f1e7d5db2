from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from gmme_exporters.graphs.fp16 import _remove_round_trips, convert_fp16
from tests.artifacts import exported_onnx, open_checkpoint, sounds, torch_logits

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


@pytest.fixture(scope="module", params=[18, 16], ids="opset{}".format)
def path(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    target = tmp_path_factory.mktemp("fp16") / "model.fp16.onnx"
    convert_fp16(exported_onnx(root, "gmme", request.param), target)
    return target


def types_of(proto: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def logits_of(path: Path, waveform: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(["logits"], {"waveform": waveform})[0]
    return logits


def test_weights_are_half_and_the_interface_is_not(path: Path) -> None:
    proto = onnx.load(path)
    types = types_of(proto)
    assert {types[name] for name in ("waveform", "logits", "embedding")} == {FLOAT}
    weighted = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(weighted) > 30
    assert {types[name] for node in weighted for name in node.input} == {FLOAT16}
    large = {tensor.data_type for tensor in proto.graph.initializer if np.prod(tensor.dims) > 64}
    assert FLOAT not in large


def test_the_file_is_half_the_size(bundle: Path) -> None:
    sizes = [(bundle / f"model.{p}.onnx").stat().st_size for p in ("fp16", "fp32")]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_waveform_reaches_peak_scaling_in_float32(path: Path) -> None:
    proto = onnx.load(path)
    types = types_of(proto)
    made_by = {name: node for node in proto.graph.node for name in node.output}
    heard = {"waveform"}
    for node in proto.graph.node:
        if node.op_type != "Shape" and heard & set(node.input):  # shapes carry no samples
            heard |= set(node.output)
    scaling = next(n for n in proto.graph.node if n.op_type == "Mul" and "waveform" in n.input)
    pending, passed = list(scaling.input), set()
    while pending:  # from the product up to the waveform
        name = pending.pop()
        if name in heard:
            assert types[name] != FLOAT16, name
            passed.add(made_by[name].op_type if name in made_by else name)
            pending += made_by[name].input if name in made_by else []
    assert passed >= {"waveform", "Abs", "ReduceMax", "Reciprocal"}


@pytest.mark.parametrize("peak", [0.9, 1e-3, 1e-6])
def test_logits_are_near_torchs_at_any_level(path: Path, root: Path, peak: float) -> None:
    clips = sounds()
    clips = (clips * (peak / np.abs(clips).max(axis=1, keepdims=True))).astype(np.float32)
    expected = torch_logits(open_checkpoint(root).model, clips)
    assert np.abs(logits_of(path, clips) - expected).max() < 3e-2 * np.abs(expected).max()
    assert (logits_of(path, clips).argmax(1) == expected.argmax(1)).all()


def test_silence_is_finite(path: Path) -> None:
    assert np.isfinite(logits_of(path, np.zeros_like(sounds()[:1]))).all()


def test_no_round_trip_is_left(path: Path) -> None:
    proto = onnx.load(path)
    types = types_of(proto)
    made_by = {name: node for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        before = made_by.get(node.input[0]) if node.input else None
        if node.op_type == "Cast" and before is not None and before.op_type == "Cast":
            assert not types[before.input[0]] == types[node.output[0]] == FLOAT, node.name


def test_removing_a_round_trip_is_exact() -> None:
    """float16 would turn 1e-9 into 0, 70000 into inf and round the rest."""
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], "to_half", to=FLOAT16),
        helper.make_node("Cast", ["half"], ["back"], "to_single", to=FLOAT),
        helper.make_node("Abs", ["back"], ["y"], "abs"),
        helper.make_node("Neg", ["half"], ["z"], "neg"),
    ]
    graph = helper.make_graph(
        [nodes[2], nodes[1], nodes[0], nodes[3]],  # unsorted, as the converter leaves them
        "round trip",
        [helper.make_tensor_value_info("x", FLOAT, [4])],
        [
            helper.make_tensor_value_info("y", FLOAT, [4]),
            helper.make_tensor_value_info("z", FLOAT16, [4]),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=9)
    _remove_round_trips(proto)
    assert sorted(node.op_type for node in proto.graph.node) == ["Abs", "Cast", "Neg"]
    x = np.array([-1e-9, 70_000, 0.1, -3], np.float32)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, z = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, np.abs(x))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(z, -x.astype(np.float16))
