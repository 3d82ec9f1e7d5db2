"""Bias correction: what quantization shifts a channel by on average goes back into its bias.

Where a clip is silent, every channel of the front is a constant, and rounding a constant is an
error that does not average out. Such shifts are measured on calibration clips, layer by layer in
the graph's order, each behind the corrected ones before it (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with data).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform
from gmme_edge.blocks import Layer
from gmme_edge.errors import require
from gmme_edge.runtime.bundle import INPUT

Corrections = dict[str, NDArray[np.float32]]


class Quantizer(Protocol):
    """What the exporters hand over: writes Q/DQ graphs of one prepared float32 graph."""

    @property
    def prepared(self) -> Path: ...

    @property
    def layers(self) -> tuple[Layer, ...]: ...

    def write(
        self,
        target: Path,
        floats: Collection[str] = (),
        corrections: Corrections | None = None,
    ) -> None: ...


def correct_biases(
    quantizer: Quantizer,
    waveforms: Waveform,
    floats: Collection[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> Corrections:
    """Per quantized convolution what to add to its bias, shape (output channels,).

    The convolution's own output is compared before it is rounded: a shift of the rounded values
    moves whole steps at a time.

    Args:
        waveforms: shape ``(n, samples)``.
        floats: the layers that stay in floating point, by name.
    """
    convs = [layer for layer in quantizer.layers if layer.is_conv and layer.name not in floats]
    progress = on_progress or (lambda done, total: None)
    corrections: Corrections = {}
    if not convs:
        return corrections
    expected = dict(zip(convs, _channel_means(quantizer.prepared, convs, waveforms), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        for wave in _waves(quantizer.prepared, convs):
            quantizer.write(graph, floats, corrections)
            for layer, mean in zip(wave, _channel_means(graph, wave, waveforms), strict=True):
                corrections[layer.name] = (expected[layer] - mean).astype(np.float32)
            progress(len(corrections), len(convs))
    return corrections


def _waves(model: Path, layers: Sequence[Layer]) -> list[list[Layer]]:
    """The layers in order, those together that do not feed each other."""
    graph = require("onnx", "correct biases").load(model).graph
    waves: list[list[Layer]] = []
    for layer in layers:
        needed = _ancestors(graph, layer.outputs)
        above = {name for i in needed for name in graph.node[i].output}
        if waves and not any(above & set(other.outputs) for other in waves[-1]):
            waves[-1].append(layer)
        else:
            waves.append([layer])
    return waves


def _channel_means(
    model: Path, layers: Sequence[Layer], waveforms: Waveform
) -> list[NDArray[np.float64]]:
    """The mean of each layer's outputs per channel, over clips and positions."""
    names = [name for layer in layers for name in layer.outputs]
    session = _session(_cut(model, names))
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    sizes: dict[str, int] = {}
    for i in range(len(waveforms)):
        for name, value in zip(
            names, session.run(names, {INPUT: waveforms[i : i + 1]}), strict=True
        ):
            others = tuple(axis for axis in range(value.ndim) if axis != 1)
            sums[name] = sums[name] + value.sum(axis=others, dtype=np.float64)
            sizes[name] = value.size // value.shape[1]
    return [
        sum(sums[name] for name in layer.outputs)
        / (len(waveforms) * sum(sizes[name] for name in layer.outputs))
        for layer in layers
    ]


def _cut(model: Path, outputs: Sequence[str]) -> bytes:
    """The part of a graph that `outputs` follow from."""
    onnx = require("onnx", "correct biases")
    proto = onnx.load(model)
    needed = _ancestors(proto.graph, outputs)
    kept = [node for i, node in enumerate(proto.graph.node) if i in needed]
    del proto.graph.node[:], proto.graph.output[:]
    proto.graph.node.extend(kept)
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    )
    cut: bytes = proto.SerializeToString()
    return cut


def _ancestors(graph: Any, tensors: Sequence[str]) -> set[int]:  # noqa: ANN401 - onnx.GraphProto
    """Positions of the nodes that `tensors` follow from."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    found: set[int] = set()
    pending = list(tensors)
    while pending:
        maker = makers.get(pending.pop(), -1)
        if maker >= 0 and maker not in found:
            found.add(maker)
            pending += graph.node[maker].input
    return found


def _session(graph: bytes) -> Any:  # noqa: ANN401 - no stubs
    """Computes what Q/DQ nodes say in floating point: integer kernels have no unrounded outputs."""
    ort = require("onnxruntime", "correct biases")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
