"""Aligned graphs have the same function, and what they round in silence lies on a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.int8.qdq import Quantizer, prepare_int8
from gmme_exporters.int8.silence import align_silence
from gmme_exporters.lowering.targets import lower
from tests.artifacts import calibration, exported_onnx, first_to_make, open_checkpoint, sounds
from tests.exporters.test_int8 import logits_of

KINDS = ("aa", "gmme", "gmme-lite")
TARGETS = ("generic", "ort-cpu", "tensorrt", "16")


def prepared_onnx(root: Path, kind: str, target: str) -> Path:
    """`target` is one of lowering's, or an opset of the older exporter; not to be changed."""
    name = f"{kind}-{target}-silence"
    source, prepared = root / f"{name}.onnx", root / f"{name}-prepared.onnx"
    with first_to_make(root, name) as first:
        if first:
            if target.isdigit():
                source = exported_onnx(root, kind, int(target))
            else:
                model = lower(open_checkpoint(root, kind).model, target)
                export_onnx(model, source, embedding=False)
            prepare_int8(source, prepared)
    return prepared


def quantizer_of(root: Path, kind: str, dialect: str, target: str) -> Quantizer:
    prepared = prepared_onnx(root, kind, target)
    return Quantizer(prepared, calibration().ranges(prepared), dialect)  # type: ignore[arg-type]


def in_silence(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Per convolution its input's name and, in the middle of a silent clip, its channels."""
    proto = onnx.load(path)
    convs = [node for node in proto.graph.node if node.op_type == "Conv"]
    names = sorted({node.input[0] for node in convs})
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    length = proto.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    values = session.run(names, {"waveform": np.zeros((1, length), np.float32)})
    found = dict(zip(names, values, strict=True))
    return {
        node.name: (node.input[0], found[node.input[0]][..., found[node.input[0]].shape[-1] // 2])
        for node in convs
    }


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", ["int8-ort", "int8-tensorrt"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_function_stays(
    root: Path, tmp_path: Path, kind: str, dialect: str, target: str
) -> None:
    plain = quantizer_of(root, kind, dialect, target)
    floats = plain.front if dialect == "int8-ort" else ()
    aligned = align_silence(plain, tmp_path / "aligned.onnx", floats)
    before, after = (logits_of(q.prepared, sounds()) for q in (plain, aligned))
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    assert [layer.name for layer in aligned.layers] == [layer.name for layer in plain.layers]
    onnx.checker.check_model(aligned.prepared)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_in_silence_a_convolution_reads_whole_steps(
    root: Path, tmp_path: Path, target: str
) -> None:
    """For TensorRT every one of them does."""
    plain = quantizer_of(root, "aa", "int8-tensorrt", target)
    aligned = align_silence(plain, tmp_path / "aligned.onnx")

    def off_step(quantizer: Quantizer) -> list[float]:
        found = in_silence(quantizer.prepared)
        names = {node for layer in quantizer.layers for node in layer.nodes}
        errors = []
        for name, constants in (found[node] for node in sorted(names & found.keys())):
            step = max(map(abs, quantizer.ranges[name])) / 127
            errors.append(float(np.abs(constants / step - np.round(constants / step)).max()))
        return errors

    assert len(off_step(aligned)) > 8 and max(off_step(aligned)) < 0.01
    assert np.median(off_step(plain)) > 0.2


@pytest.mark.slow
def test_recordings_with_silence_lose_less(root: Path, tmp_path: Path) -> None:
    clips = sounds(2)
    clips[:, clips.shape[1] // 3 :] = 0
    errors = {}
    for kind in KINDS:
        plain = quantizer_of(root, kind, "int8-tensorrt", "ort-cpu")
        exact = logits_of(plain.prepared, clips)
        for name, quantizer in (
            ("plain", plain), ("aligned", align_silence(plain, tmp_path / "aligned.onnx")),
        ):  # fmt: skip
            quantizer.write(tmp_path / "int8.onnx")
            error = np.square(logits_of(tmp_path / "int8.onnx", clips) - exact).mean()
            errors[kind, name] = error / np.square(exact).mean()
    assert all(errors[kind, "aligned"] < errors[kind, "plain"] for kind in KINDS)


@pytest.mark.slow
def test_additions_only_where_integers_follow(root: Path, tmp_path: Path) -> None:
    plain = quantizer_of(root, "gmme", "int8-tensorrt", "ort-cpu")

    def additions(floats: tuple[str, ...]) -> list[str]:
        aligned = align_silence(plain, tmp_path / "aligned.onnx", floats)
        nodes = onnx.load(aligned.prepared).graph.node
        return [node.name for node in nodes if node.name.endswith(".aligned/Add")]

    everywhere, behind_front = additions(()), additions(plain.front)
    assert len(everywhere) >= 3 and len(behind_front) < len(everywhere)
    assert not any("stem" in name or "stage1.0" in name for name in behind_front)
    every = tuple(layer.name for layer in plain.layers)
    nothing = align_silence(plain, tmp_path / "aligned.onnx", every)
    same = onnx.load(plain.prepared).SerializeToString()
    assert onnx.load(nothing.prepared).SerializeToString() == same


@pytest.mark.slow
def test_onnx_runtime_gets_biases_alone_and_only_behind_a_front_in_float(
    root: Path, tmp_path: Path
) -> None:
    plain = quantizer_of(root, "aa", "int8-ort", "ort-cpu")
    assert align_silence(plain, tmp_path / "aligned.onnx", plain.front[1:]) is plain
    aligned = align_silence(plain, tmp_path / "aligned.onnx", plain.front)
    before, after = (onnx.load(q.prepared).graph for q in (plain, aligned))
    assert [node.name for node in after.node] == [node.name for node in before.node]
    own = [t.name for t in after.initializer if t.name.endswith(".aligned_bias")]
    assert own and not any("stem" in name or "stage1.0" in name for name in own)
