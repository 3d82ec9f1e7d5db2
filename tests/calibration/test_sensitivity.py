"""Sensitivity on a graph of two convolutions, where every figure can be had by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gmme_calibration.sensitivity import (
    Probe,
    measure_effects,
    noise_alone,
    noise_per_mac,
    parts_of,
    sqnr_db,
)
from gmme_edge.audio import Waveform
from gmme_edge.blocks import Layer
from gmme_edge.runtime.onnxruntime import open_graph
from tests.calibration.graphs import clips, kernels
from tests.calibration.test_bias import Rounding


def run(path: Path, waveforms: Waveform) -> np.ndarray:
    return open_graph(path, "fp32")(waveforms)


def by_hand(waveforms: Waveform, rounds: tuple[bool, bool]) -> np.ndarray:
    first, second = (
        np.round(w[:, :, 0] * 4) / 4 if rounded else w[:, :, 0]
        for w, rounded in zip(kernels(), rounds, strict=True)
    )
    rectified = np.maximum(np.einsum("of,nft->not", first, waveforms[:, None]), 0)
    return np.einsum("of,nft->not", second, rectified)


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    return Probe(Rounding(tmp_path), run, clips(3), correct=False)


def test_a_part_is_quantized_alone_and_with_all_others(probe: Probe) -> None:
    exact = by_hand(probe.waveforms, (False, False))
    effects = measure_effects(probe, by_layer=True)
    assert [effect.part for effect in effects] == ["one", "two"]
    expected = [
        sqnr_db(exact, by_hand(probe.waveforms, rounds))
        for rounds in ((True, False), (False, True))
    ]
    assert [e.sqnr_alone_db for e in effects] == pytest.approx(expected, abs=1e-3)
    assert [e.sqnr_others_db for e in effects] == pytest.approx(expected[::-1], abs=1e-3)
    assert [e.macs for e in effects] == [0.5, 0.5]
    noise = noise_alone(probe)
    assert noise == pytest.approx(
        {name: 10 ** (-db / 10) for name, db in zip(("one", "two"), expected, strict=True)},
        rel=1e-3,
    )


def test_accuracy_is_measured_on_every_graph(probe: Probe) -> None:
    seen: list[np.ndarray] = []

    def accuracy(path: Path) -> float:
        seen.append(run(path, probe.waveforms))
        return len(seen) / 10

    told: list[tuple[int, int]] = []
    effects = measure_effects(probe, True, accuracy, lambda *step: told.append(step))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(e.accuracy_alone, e.accuracy_others) for e in effects] == [(0.1, 0.2), (0.3, 0.4)]
    for logits, rounds in zip(
        seen, [(True, False), (False, True), (False, True), (True, False)], strict=True
    ):
        np.testing.assert_allclose(logits, by_hand(probe.waveforms, rounds), atol=1e-5)


def test_correction_raises_the_ratio_where_the_shift_is_most_of_the_error(tmp_path: Path) -> None:
    steady = np.full((3, 64), 0.4, np.float32) + np.float32(0.01) * clips(3)
    plain, corrected = (
        measure_effects(Probe(Rounding(tmp_path), run, steady, correct), by_layer=True)
        for correct in (False, True)
    )
    assert corrected[0].sqnr_alone_db > plain[0].sqnr_alone_db + 10


def test_layers_fall_into_blocks_in_the_graphs_order() -> None:
    layers = tuple(
        Layer(name, (), (), 1, True)
        for name in ("stem.conv", "stage1.0.conv", "stage1.0.blur", "classify")
    )
    assert {k: len(v) for k, v in parts_of(layers, by_layer=False).items()} == {
        "stem": 1, "stage1.0": 2, "head": 1,
    }  # fmt: skip
    assert list(parts_of(layers, by_layer=True)) == [layer.name for layer in layers]


def test_noise_is_weighed_against_multiply_adds() -> None:
    layers = [Layer(name, (), (), macs, True) for name, macs in (("a", 10), ("b", 1), ("c", 10))]
    ranked = noise_per_mac(layers, {"a": 2.0, "b": 1.0, "c": 3.0})
    assert [layer.name for layer in ranked] == ["b", "c", "a"]


def test_equal_values_have_no_noise() -> None:
    values = np.ones((2, 3), np.float32)
    assert sqnr_db(values, values) == float("inf")
    assert sqnr_db(values, values * np.float32(1.1)) == pytest.approx(20, abs=1e-3)
