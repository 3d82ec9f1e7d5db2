"""TensorRT-RTX on int8-tensorrt graphs as `export` writes them: lowered, with corrected biases."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from gmme_calibration.bias import correct_biases
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.int8.qdq import Quantizer, prepare_int8
from gmme_exporters.lowering.targets import lower
from gmme_exporters.tensorrt.build import EngineInfo, EngineOptions, build_engine
from tests.artifacts import calibration, open_checkpoint, sounds


@pytest.fixture(scope="module")
def quantizer(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantizer:
    pytest.importorskip("tensorrt_rtx")
    folder = tmp_path_factory.mktemp("lowered")
    plain, prepared = folder / "model.onnx", folder / "prepared.onnx"
    export_onnx(lower(open_checkpoint(root).model, "tensorrt"), plain, opset=17)
    prepare_int8(plain, prepared)
    return Quantizer(prepared, calibration().ranges(prepared), "int8-tensorrt")


def build(quantizer: Quantizer, folder: Path, floats: Collection[str], sm: int) -> EngineInfo:
    graph = folder / f"model-{len(floats)}.onnx"
    quantizer.write(graph, floats, correct_biases(quantizer, sounds(1)[:2], floats))
    info = build_engine(graph, folder / "model.engine", "int8-tensorrt", EngineOptions(sm=sm))
    assert info.target == f"tensorrt-rtx-sm{sm}" and info.size_bytes > 50_000
    return info


def exceptions(quantizer: Quantizer) -> tuple[str, ...]:
    """As a search may find them, all over the network: each by itself, no whole block."""
    convs = [layer.name for layer in quantizer.layers if layer.is_conv]
    products = [layer.name for layer in quantizer.layers if not layer.is_conv]
    return convs[0], convs[7], convs[-1], products[1], products[-1]


def test_nothing_in_floating_point_and_exceptions_build(
    quantizer: Quantizer, tmp_path: Path
) -> None:
    """The parser keeps every Q/DQ pair as a layer: the more stays in float, the fewer layers."""
    chosen = ((), exceptions(quantizer), quantizer.front)
    layers = [build(quantizer, tmp_path, floats, 89).n_layers for floats in chosen]
    assert layers == sorted(layers, reverse=True) and len(set(layers)) == len(layers)


@pytest.mark.slow
@pytest.mark.parametrize("sm", [86, 120])
def test_they_build_for_the_other_generations(
    quantizer: Quantizer, tmp_path: Path, sm: int
) -> None:
    for floats in ((), exceptions(quantizer), quantizer.front):
        build(quantizer, tmp_path, floats, sm)
