from __future__ import annotations

import getpass
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from gmme_edge.audio import Waveform
from gmme_edge.errors import PlatformError, UsageError
from gmme_exporters.graphs.export import _name_batch_axis, export_onnx
from tests.artifacts import (
    N_SAMPLES,
    WORDS,
    exported_onnx,
    open_checkpoint,
    scale_by_hand,
    sounds,
    torch_logits,
)

GRAPHS = [
    ("gmme", 18),
    ("gmme", 17),
    ("gmme", 16),
    ("aa", 17),
    ("gmme-lite", 16),
    pytest.param(("aa", 18), marks=pytest.mark.slow),
    pytest.param(("gmme-lite", 18), marks=pytest.mark.slow),
    pytest.param(("gmme", 20), marks=pytest.mark.slow),
]


@pytest.fixture(scope="session", params=GRAPHS, ids=str)
def graph(request: pytest.FixtureRequest, root: Path) -> tuple[str, int, Path]:
    kind, opset = request.param
    return kind, opset, exported_onnx(root, kind, opset)


def run(path: Path, waveform: Waveform) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"waveform": waveform}))


def shape_of(value: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)


def test_the_interface_and_the_opset(graph: tuple[str, int, Path]) -> None:
    _, opset, path = graph
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import if not o.domain] == [("", opset)]
    assert [(v.name, shape_of(v)) for v in (*proto.graph.input, *proto.graph.output)] == [
        ("waveform", ("batch", N_SAMPLES)),
        ("logits", ("batch", len(WORDS))),
        ("embedding", ("batch", 16)),
    ]
    types = {v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)}
    assert types == {TensorProto.FLOAT}
    operators = {node.op_type for node in proto.graph.node}
    assert ("LayerNormalization" in operators) == (opset > 16)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_logits_are_those_of_torch(graph: tuple[str, int, Path], root: Path, batch: int) -> None:
    kind, _, path = graph
    clips = sounds()[:batch]
    logits, embedding = run(path, clips)
    model = open_checkpoint(root, kind).model
    expected = torch_logits(model, clips)
    assert logits.shape == expected.shape == (batch, len(WORDS))
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()
    head = model.classify.weight.detach().numpy(), model.classify.bias.detach().numpy()
    np.testing.assert_allclose(embedding @ head[0].T + head[1], logits, atol=1e-4)


@pytest.mark.parametrize("gain", [1e-6, 1e-3, 30.0])
def test_the_level_does_not_matter(graph: tuple[str, int, Path], gain: float) -> None:
    clips = sounds()[:3]
    quiet = (clips * (gain / np.abs(clips).max(axis=1, keepdims=True))).astype(np.float32)
    np.testing.assert_allclose(run(graph[2], quiet)[0], run(graph[2], clips)[0], atol=2e-4)


def test_silence_is_not_scaled(graph: tuple[str, int, Path], root: Path) -> None:
    kind, _, path = graph
    clips = sounds()[:2]
    clips[0] = 0
    logits, embedding = run(path, clips)
    assert np.isfinite(embedding).all()
    silence = np.zeros((1, 1, N_SAMPLES), np.float32)
    with torch.no_grad():
        expected = open_checkpoint(root, kind).model(torch.from_numpy(silence)).numpy()
    np.testing.assert_allclose(logits[:1], expected, atol=1e-4)


def test_scaling_lies_in_the_graph(root: Path) -> None:
    """Without it a quiet clip gives other logits, so that the tests above can fail."""
    model = open_checkpoint(root).model
    clip = torch.from_numpy(scale_by_hand(sounds()[:1]))[:, None]
    with torch.no_grad():
        assert (model(clip) - model(clip * 1e-3)).abs().max() > 0.1


def test_no_path_or_trace_is_shipped(graph: tuple[str, int, Path]) -> None:
    content = graph[2].read_bytes()
    tells = [
        str(Path(__file__).parents[2]), str(Path.home()), sys.prefix, sys.base_prefix,
        "site-packages", 'File "', ".py", f"/{getpass.getuser()}/",
    ]  # fmt: skip
    assert [tell for tell in tells if tell.encode() in content] == []
    proto = onnx.load(graph[2])
    assert not proto.doc_string and not any(node.doc_string for node in proto.graph.node)
    assert (proto.producer_name, proto.producer_version) == ("gmme-edge", "0.1.0")


def test_the_embedding_can_be_left_out(root: Path) -> None:
    path = exported_onnx(root, "gmme", 17, embedding=False)
    assert [value.name for value in onnx.load(path).graph.output] == ["logits"]
    clips = sounds()[:2]
    np.testing.assert_allclose(
        run(path, clips)[0], run(exported_onnx(root, "gmme", 17), clips)[0], atol=1e-5
    )


@pytest.mark.parametrize("opset", [12, 23])
def test_other_opsets_are_refused(root: Path, tmp_path: Path, opset: int) -> None:
    with pytest.raises(UsageError, match="13 to 22"):
        export_onnx(open_checkpoint(root).model, tmp_path / "model.onnx", opset)
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_batch_is_refused() -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 8]) for n in "xy"]
    node = helper.make_node("Neg", ["x"], ["y"])
    proto = helper.make_model(helper.make_graph([node], "fixed", values[:1], values[1:]))
    with pytest.raises(PlatformError, match="fixed batch of 2"):
        _name_batch_axis(proto)


def test_a_torch_that_cannot_export_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("Error when translating node batch_norm")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(PlatformError, match=r"torch .* cannot export") as caught:
        export_onnx(open_checkpoint(root).model, tmp_path / "x.onnx")
    assert "--upgrade torch" in caught.value.fix and list(tmp_path.iterdir()) == []
