"""Bias correction, on a graph of two convolutions whose rounding is done by hand."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from gmme_calibration.bias import Corrections, correct_biases
from gmme_edge.blocks import Layer
from tests.calibration.graphs import clips, kernels, two_convs

LAYERS = (
    Layer("one", ("Conv_1",), ("first",), 1, True),
    Layer("two", ("Conv_2",), ("second",), 1, True),
)


class Rounding:
    """Stands in for the exporters' quantizer: rounds weights to multiples of a quarter."""

    layers = LAYERS

    def __init__(self, folder: Path) -> None:
        self.prepared = two_convs(folder / "float.onnx")

    def write(
        self, target: Path, floats: Collection[str] = (), corrections: Corrections | None = None
    ) -> None:
        proto = onnx.load(self.prepared)
        convs = [node for node in proto.graph.node if node.op_type == "Conv"]
        for conv, layer, weight in zip(convs, LAYERS, kernels(), strict=True):
            if layer.name not in floats:
                proto.graph.initializer.append(
                    numpy_helper.from_array(np.round(weight * 4) / 4, f"{layer.name} rounded")
                )
                conv.input[1] = f"{layer.name} rounded"
            if corrections and layer.name in corrections:
                bias = numpy_helper.from_array(corrections[layer.name], f"{layer.name} bias")
                proto.graph.initializer.append(bias)
                conv.input.append(bias.name)
        onnx.save(proto, target)


def by_hand(waveforms: np.ndarray, rounds: tuple[bool, bool]) -> Corrections:
    """The same in float64: each layer behind the corrected one before it."""
    first, second = (weight[:, :, 0].astype(np.float64) for weight in kernels())
    coarse = [np.round(w * 4) / 4 if r else w for w, r in zip((first, second), rounds, strict=True)]
    exact = np.einsum("of,nft->not", first, waveforms[:, None].astype(np.float64))
    rounded = np.einsum("of,nft->not", coarse[0], waveforms[:, None].astype(np.float64))
    shift = (exact - rounded).mean(axis=(0, 2)) if rounds[0] else np.zeros(len(first))
    behind = np.maximum(rounded + shift[:, None], 0)
    wanted = np.einsum("of,nft->not", second, np.maximum(exact, 0))
    got = np.einsum("of,nft->not", coarse[1], behind)
    return {"one": shift, "two": (wanted - got).mean(axis=(0, 2))}


def test_each_layer_gets_back_its_mean_shift_behind_the_corrected_ones(tmp_path: Path) -> None:
    waveforms = clips(7) + np.float32(0.3)
    corrections = correct_biases(Rounding(tmp_path), waveforms)
    expected = by_hand(waveforms, (True, True))
    assert list(corrections) == ["one", "two"]
    for name, values in expected.items():
        np.testing.assert_allclose(corrections[name], values, atol=1e-6)
    assert np.abs(corrections["two"]).max() > 0.01


def test_layers_in_floating_point_are_left_alone(tmp_path: Path) -> None:
    waveforms = clips(5) + np.float32(0.3)
    corrections = correct_biases(Rounding(tmp_path), waveforms, floats=["one"])
    assert list(corrections) == ["two"]
    expected = by_hand(waveforms, (False, True))["two"]
    np.testing.assert_allclose(corrections["two"], expected, atol=1e-6)


def test_progress_counts_layers(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    correct_biases(Rounding(tmp_path), clips(2), on_progress=lambda *step: seen.append(step))
    assert seen == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("n_clips", [1, 4])
def test_the_mean_error_is_gone(tmp_path: Path, n_clips: int) -> None:
    quantizer, waveforms = Rounding(tmp_path), clips(n_clips) + np.float32(0.3)
    quantizer.write(tmp_path / "corrected.onnx", (), correct_biases(quantizer, waveforms))

    def mean(path: Path) -> np.ndarray:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        values: np.ndarray = session.run(["logits"], {"waveform": waveforms})[0]
        return values.mean(axis=(0, 2))

    np.testing.assert_allclose(
        mean(tmp_path / "corrected.onnx"), mean(quantizer.prepared), atol=1e-5
    )
