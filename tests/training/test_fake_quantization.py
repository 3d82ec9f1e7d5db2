"""Training's arithmetic against what ONNX Runtime makes of the exported Q/DQ graphs."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from gmme_edge.errors import UsageError
from gmme_edge.models.eat import EAT
from gmme_edge.training.fake_quantization import (
    Dialect,
    FakeQuantizer,
    blocks_in_float,
    plain_state,
    quantize_weight,
    simulate_int8,
)
from gmme_exporters.int8 import qdq as int8
from tests.artifacts import (
    calibration,
    calibration_clips,
    exported_onnx,
    open_checkpoint,
    scale_by_hand,
    sounds,
    torch_logits,
)

DIALECTS: tuple[Dialect, ...] = ("int8-ort", "int8-tensorrt")


def simulated(root: Path, kind: str, dialect: Dialect, in_float: str = "front") -> EAT:
    model = copy.deepcopy(open_checkpoint(root, kind).model)
    clips = torch.from_numpy(scale_by_hand(calibration_clips().waveforms[:]))
    simulate_int8(model, dialect, in_float, [clips])
    return model


def exported(root: Path, folder: Path, kind: str, dialect: Dialect) -> Path:
    ready, target = folder / "prepared.onnx", folder / "model.onnx"
    int8.prepare_int8(exported_onnx(root, kind, 18 if kind == "gmme" else 17), ready)
    quantizer = int8.Quantizer(ready, calibration().ranges(ready), dialect)
    quantizer.write(target, quantizer.front)
    return target


def ort_logits(path: Path, waveform: np.ndarray) -> np.ndarray:
    """Computed by definition: float32 between the Q/DQ pairs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(["logits"], {"waveform": waveform})[0]
    return logits


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).mean() / np.square(b).mean()))


def activation_steps(path: Path) -> set[tuple[float, int]]:
    """Scale and zero point of every activation's QuantizeLinear, to five digits."""
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    pairs = [
        (constants[node.input[1]], constants[node.input[2]])
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    ]
    return {(float(f"{float(scale):.4g}"), int(zero)) for scale, zero in pairs}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", ["gmme", "aa"])
def test_it_computes_what_the_exported_graph_does(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, dialect: Dialect
) -> None:
    """What is left, against the error of quantization itself: values at the edge of a step fall
    to either side. So does rounding biases to 32 bits, which int8-ort does, and training does not.
    """
    monkeypatch.setitem(int8._ORT_OPTIONS, "QuantizeBias", False)
    path, clips = exported(root, tmp_path, kind, dialect), sounds(4)
    model = simulated(root, kind, dialect)
    ort, own = ort_logits(path, clips), torch_logits(model, clips)
    exact = torch_logits(open_checkpoint(root, kind).model, clips)
    assert distance(own, ort) < 0.15 * distance(exact, ort)
    quantizers = [module for module in model.modules() if isinstance(module, FakeQuantizer)]
    own_steps = {(float(f"{q.scale.item():.4g}"), int(q.zero_point)) for q in quantizers}
    theirs = activation_steps(path)
    # A scale may be rounded to either side; a tensor that is missing on one side is found.
    assert len(own_steps & theirs) >= 0.95 * max(len(own_steps), len(theirs)) > 18


def test_the_front_quantized_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "front_convs", lambda proto: [])
    path, clips = exported(root, tmp_path, "aa", "int8-tensorrt"), sounds(4)
    ort = ort_logits(path, clips)
    own = torch_logits(simulated(root, "aa", "int8-tensorrt", "none"), clips)
    front_in_float = torch_logits(simulated(root, "aa", "int8-tensorrt"), clips)
    assert distance(own, ort) < 0.3 * distance(front_in_float, ort)


def test_weights_are_rounded_alike_before_and_after_batch_norm_is_folded() -> None:
    weight = torch.randn(8, 4, 5)
    factor = torch.randn(8, 1, 1) * torch.logspace(-6, 3, 8)[:, None, None]
    folded = quantize_weight(weight * factor, 64)
    assert torch.allclose(folded, quantize_weight(weight, 64) * factor, rtol=1e-5)
    steps = quantize_weight(weight, 64) / (weight.abs().amax((1, 2), keepdim=True) / 64)
    assert torch.allclose(steps, steps.round(), atol=1e-3) and steps.abs().max() <= 64.001
    assert not quantize_weight(torch.zeros(2, 3), 64).any()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_gradients_pass_inside_the_range_and_stop_outside(dialect: Dialect) -> None:
    quantizer = FakeQuantizer(dialect)
    quantizer(torch.tensor([[-1.0, 2.0], [-2.0, 1.0]]))
    quantizer.freeze()
    x = torch.tensor([[-2.5, -1.9, 0.0, 1.3, 2.5]], requires_grad=True)
    y = quantizer(x)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.tolist() == [[0, 1, 1, 1, 0]]
    step = (4 / 255, 2 / 127)[dialect == "int8-tensorrt"]
    assert (y - x.clamp(-2.02, 2.02)).abs().max() <= 1.01 * step / 2 + 0.02
    assert y[0, 2] == 0, "zero is a step: padding stays exact"


def test_every_trained_parameter_gets_a_gradient(root: Path) -> None:
    model = simulated(root, "gmme", "int8-ort", "none").train()
    model(torch.from_numpy(scale_by_hand(sounds()))[:, None]).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_the_plain_state_is_the_networks_own(root: Path) -> None:
    before = open_checkpoint(root).model.state_dict()
    model = simulated(root, "gmme", "int8-ort")
    assert len(model.state_dict()) > len(before)
    after = plain_state(model)
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_blocks_are_named_as_in_a_profile(root: Path) -> None:
    model = open_checkpoint(root).model
    front = {"stem", "stage1.0", "stage1.1", "stage1.2"}
    assert blocks_in_float(model, "front") - {"front"} == front
    assert blocks_in_float(model, "stage2.0, head") == {"stage2.0", "head"}
    with pytest.raises(UsageError, match=r"no block stage9\.9"):
        blocks_in_float(model, "front,stage9.9")
