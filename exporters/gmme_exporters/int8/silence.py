"""Silence alignment: shift every channel so that INT8 represents silence without an error.

Many recordings are silent for much of their length. In silence, every channel of the stem and of
the stages has one constant value. INT8 rounds this constant to the nearest step, and because the
error is the same at every position, no later sum averages it out (docs/explanation/precision.md).

`align_silence` adds an offset to each channel, so that its constant lies exactly on a step. The
convolutions that read the channel subtract the offset again through their biases. The network's
function does not change.

What an offset costs depends on where it is added. Behind a filter or a sum it becomes part of a
bias, which is free. Behind LeakyReLU it needs an addition. TensorRT fuses that addition with the
rounding. ONNX Runtime does not, and there the addition would take longer than 8 bits save.
Aligning only the free places was found to do harm, so for ONNX Runtime either the front stays in
floating point or nothing is aligned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from gmme_edge.blocks import Layer
from gmme_exporters.graphs.queries import in_silence
from gmme_exporters.int8.qdq import Quantizer, add_to_bias

_MOVES = ("Pad", "Slice", "Concat")
_LEAKY = ("LeakyRelu", "Max")  # Max(x, 0.2 x)
_SAME = 1e-4  # of the largest value
_BIAS = "aligned_bias"

Constants = NDArray[np.float64]  # shape (channels,)


def align_silence(quantizer: Quantizer, out: Path, floats: Collection[str] = ()) -> Quantizer:
    """A quantizer of the same function that is exact in silence; its graph is written to `out`.

    Args:
        floats: the layers that will stay in floating point; no addition is made for them.

    Returns:
        `quantizer` itself for ``int8-ort`` with layers of the front in 8 bits.
    """
    if not quantizer.for_tensorrt and not set(quantizer.front) <= set(floats):
        return quantizer
    graph = _Graph(onnx.load(quantizer.prepared), quantizer, frozenset(floats))
    for layer in quantizer.layers:
        if layer.is_conv:
            graph.align(layer)
    onnx.save(graph.proto, out)
    return replace(quantizer, prepared=out, ranges=graph.ranges)


class _Graph:
    def __init__(self, proto: ModelProto, quantizer: Quantizer, floats: frozenset[str]) -> None:
        self.proto, self.floats = proto, floats
        self.ranges, self.unsigned = dict(quantizer.ranges), not quantizer.for_tensorrt
        self.layer_of = {node: layer for layer in quantizer.layers for node in layer.nodes}
        self.nodes = {node.name: node for node in proto.graph.node}
        self.users: dict[str, list[NodeProto]] = {}
        for node in proto.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        convs = [node for node in proto.graph.node if node.op_type == "Conv"]
        kernels = {node.input[1] for node in convs}
        self.weights = {
            tensor.name: numpy_helper.to_array(tensor).astype(np.float64)
            for tensor in proto.graph.initializer
            if tensor.name in kernels
        }
        names = sorted({name for node in convs for name in (node.input[0], node.output[0])})
        values = in_silence(proto, names)
        self.lengths = {name: value.shape[-1] for name, value in values.items()}
        found = {name: _constant(value) for name, value in values.items()}
        self.constants = {name: value for name, value in found.items() if value is not None}

    def align(self, layer: Layer) -> None:
        """Shift what `layer` puts out, where every reader can take that back."""
        main = self._main(layer)
        ends = [self._behind_activation(name) for name in layer.outputs]
        activated = ends != list(layer.outputs)
        readers = self._readers(ends, sums=not activated)
        mains = [self._main(reader) for reader in readers]
        still = {main.output[0], *(name for n in mains for name in (n.input[0], n.output[0]))}
        moving = not still <= self.constants.keys()
        if not readers or moving or (activated and self.unsigned):
            return
        self._share_ranges([layer, *readers])
        rounded = {
            node.input[0]
            for reader, node in zip(readers, mains, strict=True)
            if reader.name not in self.floats
        }
        if self.unsigned and layer.name not in self.floats:
            rounded.add(main.output[0])
        if not rounded:
            return
        shift = _least_error([(self.constants[n], self._step(n)) for n in sorted(rounded)])
        if activated:
            self._add_behind(layer, ends, shift)
        else:
            add_to_bias(self.proto, layer, shift, _BIAS)
            self.constants[main.output[0]] = self.constants[main.output[0]] + shift
        for name in {node.input[0] for node in mains} - {main.output[0]}:
            self.constants[name] = self.constants[name] + shift
        for reader, node in zip(readers, mains, strict=True):
            add_to_bias(self.proto, reader, -self._response(node, shift), _BIAS)

    def _main(self, layer: Layer) -> NodeProto:
        """Of the nodes of a layer the one that sees the whole clip, not only its edges."""
        nodes = [self.nodes[name] for name in layer.nodes]
        return max(nodes, key=lambda node: self.lengths[node.output[0]])

    def _behind_activation(self, name: str) -> str:
        found = [node.output[0] for node in self.users.get(name, []) if node.op_type in _LEAKY]
        return found[0] if found else name

    def _readers(self, names: Iterable[str], sums: bool) -> list[Layer]:
        """The convolutions that read the tensors, perhaps within a sum; none if others do too."""
        readers: dict[Layer, None] = {}
        pending, passed = list(names), {*_MOVES, "Add"} if sums else set(_MOVES)
        while pending:
            name = pending.pop()
            for node in self.users.get(name, []):
                if node.op_type in passed:
                    pending.append(node.output[0])
                elif node.op_type == "Conv" and node.input[0] == name:
                    if self._zeros_count(node):
                        return []
                    readers[self.layer_of[node.name]] = None
                else:
                    return []
        return list(readers)

    def _zeros_count(self, conv: NodeProto) -> bool:
        """Whether zeros that a convolution pads with are part of the function.

        They cannot be shifted. Where a clip's edges are computed apart, the zeros' frames are
        thrown away.
        """
        pads = next((a.ints for a in conv.attribute if a.name == "pads"), ())
        return any(pads) and len(self.layer_of[conv.name].nodes) == 1

    def _share_ranges(self, layers: Iterable[Layer]) -> None:
        """Edges of a clip get the steps of its middle, whose constants they share."""
        for layer in layers:
            main = self._main(layer)
            for name in layer.nodes:
                self.ranges[self.nodes[name].input[0]] = self.ranges[main.input[0]]
                self.ranges[self.nodes[name].output[0]] = self.ranges[main.output[0]]

    def _step(self, name: str) -> float:
        low, high = self.ranges[name]
        low, high = min(low, 0.0), max(high, 0.0)
        return ((high - low) / 255 if self.unsigned else max(-low, high) / 127) or 1.0

    def _response(self, conv: NodeProto, shift: Constants) -> Constants:
        """How far a convolution's output moves where its input does."""
        weight = self.weights[conv.input[1]]
        taps = weight.reshape(*weight.shape[:2], -1).sum(axis=2)
        response: Constants = taps[:, 0] * shift if taps.shape[1] < len(shift) else taps @ shift
        return response

    def _add_behind(self, layer: Layer, tensors: Iterable[str], shift: Constants) -> None:
        constant = f"{layer.name}.silence"
        ones = self.weights[self._main(layer).input[1]].ndim - 2
        column = shift.astype(np.float32).reshape(-1, *[1] * ones)
        self.proto.graph.initializer.append(numpy_helper.from_array(column, constant))
        for name in tensors:
            shifted = f"{name}.aligned"
            for node in self.users[name]:
                node.input[:] = [shifted if other == name else other for other in node.input]
            if name in self.ranges:  # a convolution reads it as it is, unpadded
                self.ranges[shifted] = self.ranges[name]
            if name in self.constants:
                self.constants[shifted] = self.constants[name]
            added = helper.make_node("Add", [name, constant], [shifted], name=f"{shifted}/Add")
            self._insert(added, after=name)

    def _insert(self, node: NodeProto, after: str) -> None:
        nodes = list(self.proto.graph.node)
        place = next(i for i, other in enumerate(nodes) if after in other.output) + 1
        self.proto.graph.node.insert(place, node)


def _least_error(grids: list[tuple[Constants, float]]) -> Constants:
    """The shift after which constants lie nearest to the steps of their tensors, together."""
    nearest = [
        (np.round(constant / step) + steps) * step - constant
        for constant, step in grids
        for steps in (0, -1, 1)
    ]
    candidates = np.stack(nearest)
    errors = sum(_distance(constant + candidates, step) ** 2 for constant, step in grids)
    best = (errors + 1e-9 * candidates**2).argmin(axis=0)
    chosen: Constants = np.take_along_axis(candidates, best[None], axis=0)[0]
    return chosen


def _distance(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    return np.abs(values - np.round(values / step) * step)


def _constant(value: NDArray[np.float32]) -> Constants | None:
    """Each channel's value, shape (1, channels, …, length) → (channels,).

    None where one changes along the clip, away from its ends.
    """
    channels, length = value.shape[1], value.shape[-1]
    middle = value.reshape(channels, -1, length)[..., length // 4 : length - length // 4]
    constant = middle[:, 0, middle.shape[-1] // 2].astype(np.float64)
    spread = np.abs(middle - constant[:, None, None]).max()
    return constant if spread <= _SAME * max(np.abs(middle).max(), 1e-6) else None
