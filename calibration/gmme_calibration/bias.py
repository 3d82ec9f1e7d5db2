"""Bias correction: find by how much quantization shifts each channel, and undo it in the bias.

A rounding error that is the same everywhere in a clip does not average out. So a channel's mean
moves. This module measures that shift on calibration clips, layer by layer in the graph's order.
Each layer is measured after the layers before it were corrected (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with data).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper

from gmme_edge.audio import Waveform
from gmme_edge.blocks import Layer
from gmme_edge.bundle.bundle import INPUT

Corrections = dict[str, NDArray[np.float32]]
Values = dict[str, NDArray[Any]]


class QdqWriter(Protocol):
    """Writes Q/DQ graphs of one prepared float32 graph; the exporters bring one."""

    @property
    def prepared(self) -> Path: ...

    @property
    def layers(self) -> tuple[Layer, ...]: ...

    def write(
        self,
        out: Path,
        floats: Collection[str] = (),
        corrections: Corrections | None = None,
    ) -> None: ...


def correct_biases(
    quantizer: QdqWriter,
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
    progress(0, len(convs))
    exact, names = onnx.load(quantizer.prepared), [name for c in convs for name in c.outputs]
    expected = _means(_Stages(exact, waveforms).run(names), convs)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        quantizer.write(graph, floats)
        rounded = _Stages(onnx.load(graph), waveforms)
    for wave in _waves(exact.graph, convs):
        found = _means(rounded.run([name for layer in wave for name in layer.outputs]), wave)
        for layer in wave:
            corrections[layer.name] = (expected[layer] - found[layer]).astype(np.float32)
            rounded.add(layer.outputs, corrections[layer.name])
        progress(len(corrections), len(convs))
    return corrections


def _means(runs: Iterator[Values], layers: Sequence[Layer]) -> dict[Layer, NDArray[np.float64]]:
    """The mean of each layer's outputs per channel, over clips and positions."""
    sums: dict[Layer, Any] = dict.fromkeys(layers, 0.0)
    counts = dict.fromkeys(layers, 0)
    for values in runs:
        for layer in layers:
            for value in (values[name] for name in layer.outputs):
                others = tuple(axis for axis in range(value.ndim) if axis != 1)
                sums[layer] = sums[layer] + value.sum(axis=others, dtype=np.float64)
                counts[layer] += value.size // value.shape[1]
    return {layer: sums[layer] / counts[layer] for layer in layers}


class _Stages:
    """Runs a graph part by part, so that what a part puts out can be changed before the next.

    Of every clip only the tensors are kept that later parts need. Q/DQ nodes are computed in
    floating point: integer kernels have no unrounded outputs.
    """

    def __init__(self, proto: ModelProto, waveforms: Waveform) -> None:
        self._pending = list(proto.graph.node)
        self._proto = proto
        self._clips: list[Values] = [{INPUT: clip[None]} for clip in waveforms]

    def run(self, outputs: Sequence[str]) -> Iterator[Values]:
        """Per clip the tensors `outputs`, by name; to be consumed before the next call."""
        part = _before(self._pending, outputs, self._clips[0])
        taken = {id(node) for node in part}
        self._pending = [node for node in self._pending if id(node) not in taken]
        made = {name for node in part for name in node.output}
        wanted = {name for node in self._pending for name in node.input}
        passed_on = sorted((made & wanted) | set(outputs))
        session, fed = self._session(part, passed_on)
        for values in self._clips:
            found = session.run(passed_on, {name: values[name] for name in fed})
            values.update(zip(passed_on, found, strict=True))
            yield values
            for name in values.keys() - wanted:
                del values[name]

    def add(self, tensors: Sequence[str], shift: NDArray[np.float32]) -> None:
        """Add to the tensors' channels, in every clip; those that no later part needs are gone."""
        for values in self._clips:
            for name in values.keys() & set(tensors):
                values[name] = values[name] + shift.reshape(-1, *[1] * (values[name].ndim - 2))

    def _session(
        self, part: Sequence[NodeProto], outputs: Sequence[str]
    ) -> tuple[onnxruntime.InferenceSession, list[str]]:
        used = {name for node in part for name in node.input}
        fed = sorted(used & self._clips[0].keys())
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(self._clips[0][name].dtype), None
            )
            for name in fed
        ]
        graph = helper.make_graph(
            part,
            "part",
            inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [tensor for tensor in self._proto.graph.initializer if tensor.name in used],
        )
        model = ModelProto(
            ir_version=self._proto.ir_version,
            opset_import=self._proto.opset_import,
            functions=self._proto.functions,
            graph=graph,
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session, fed


def _waves(graph: GraphProto, layers: Sequence[Layer]) -> list[list[Layer]]:
    """The layers in order, those together that do not feed each other."""
    waves: list[list[Layer]] = []
    for layer in layers:
        above = {name for node in _before(graph.node, layer.outputs) for name in node.output}
        if waves and not any(above & set(other.outputs) for other in waves[-1]):
            waves[-1].append(layer)
        else:
            waves.append([layer])
    return waves


def _before(
    nodes: Sequence[NodeProto], tensors: Sequence[str], known: Collection[str] = ()
) -> list[NodeProto]:
    """The nodes that `tensors` follow from, where those in `known` are given; in order."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output}
    found: set[int] = set()
    pending = list(tensors)
    while pending:
        name = pending.pop()
        maker = -1 if name in known else makers.get(name, -1)
        if maker >= 0 and maker not in found:
            found.add(maker)
            pending += nodes[maker].input
    return [nodes[i] for i in sorted(found)]
