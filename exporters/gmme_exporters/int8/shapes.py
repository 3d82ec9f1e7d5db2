"""Changes of shape on 8-bit values instead of floats, for ``int8-ort``.

Between a GMME convolution and its neighbours the map is turned, cut and put in order. ONNX Runtime
moves such steps to the integers by itself, but it rounds once for each reader of a tensor, and
makes floats of integers once for each reader. Both can be shared:

    before    x ─┬─ turn ─ Q ─ DQ ─ conv          y ─ DQ(s) ─ order ─┬──────── max
                 └─ cut ── Q ─ DQ ─ conv                             └─ · a ───┘

    after     x ─ Q ─┬─ turn ─ DQ ─ conv          y ─ order ─┬─ DQ(s) ─── max
                     └─ cut ── DQ ─ conv                     └─ DQ(a·s) ──┘

The right one is a PReLU: its slopes go into scales per channel, and a product is saved.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

_SHAPES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split"})
_CHANNEL_AXIS = -3  # of a map (…, C, F, T)


def move_shapes(proto: ModelProto) -> None:
    """Rewrite a Q/DQ graph in place; its nodes are no longer in order."""
    while _Graph(proto).share_rounding():
        pass
    graph = _Graph(proto)
    graph.scale_slopes()
    graph.forget_types()


class _Graph:
    def __init__(self, proto: ModelProto) -> None:
        self.graph = proto.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        self.made_by = {name: node for node in proto.graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in proto.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def share_rounding(self) -> bool:
        """One Q for all that read one tensor through changes of shape, with the same scale.

        Returns:
            Whether there were any; then there may be more, one change of shape further up.
        """
        found: dict[tuple[str, ...], list[NodeProto]] = {}
        for node in self.graph.node:
            if node.op_type == "QuantizeLinear" and (chain := self._shapes_before(node)):
                values = (self.constants[name].tobytes().hex() for name in node.input[1:])
                found.setdefault((chain[-1].input[0], *values), []).append(node)
        shared = [(key[0], nodes) for key, nodes in found.items() if len(nodes) > 1]
        for tensor, nodes in shared:
            rounded = f"{nodes[0].output[0]}_shared"
            self._add("QuantizeLinear", [tensor, *nodes[0].input[1:]], rounded)
            for node in nodes:
                self._shapes_before(node)[-1].input[0] = rounded
                for reader in self.readers[node.output[0]]:
                    reader.input[0] = node.input[0]
                self.graph.node.remove(node)
        return bool(shared)

    def scale_slopes(self) -> None:
        """PReLUs, as maxima, of integers."""
        for node in [node for node in self.graph.node if node.op_type == "DequantizeLinear"]:
            leaves = list(self._leaves(node.output[0]))
            prelus = [found for leaf in leaves if (found := self._slopes(leaf))]
            if leaves == [node.output[0]] or len(prelus) < len(leaves):
                continue
            for leaf, prelu in zip(leaves, prelus, strict=True):
                self._scale(node, leaf, prelu)
            for shape in self.readers[node.output[0]]:
                shape.input[0] = node.input[0]
            self.graph.node.remove(node)

    def forget_types(self) -> None:
        """Some changes of shape now have integers; engines infer them."""
        shaped = {o for node in self.graph.node if node.op_type in _SHAPES for o in node.output}
        kept = [info for info in self.graph.value_info if info.name not in shaped]
        del self.graph.value_info[:]
        self.graph.value_info.extend(kept)

    def _shapes_before(self, node: NodeProto) -> list[NodeProto]:
        """The changes of shape that lead to a node, from the last to the first; not divisions."""
        chain: list[NodeProto] = []
        while (before := self.made_by.get(node.input[0])) and before.op_type in _SHAPES - {"Split"}:
            if len(self.readers[before.output[0]]) > 1:
                break
            chain.append(node := before)
        return chain

    def _leaves(self, name: str) -> Iterator[str]:
        """What is read by other than a change of shape."""
        readers = self.readers.get(name, [])
        if not readers or any(reader.op_type not in _SHAPES for reader in readers):
            yield name
            return
        for reader in readers:
            for output in reader.output:
                yield from self._leaves(output)

    def _slopes(self, name: str) -> tuple[NodeProto, NodeProto, NDArray[np.float32]] | None:
        """Product, maximum and slopes, where `name` is read by a PReLU alone."""
        readers = {node.op_type: node for node in self.readers.get(name, [])}
        if set(readers) != {"Mul", "Max"}:
            return None
        product, maximum = readers["Mul"], readers["Max"]
        (other,) = (each for each in product.input if each != name)
        slopes = self.constants.get(other)
        if slopes is None or slopes.shape[1:] != (1, 1) or product.output[0] not in maximum.input:
            return None
        return product, maximum, slopes.ravel()

    def _scale(
        self,
        dequantize: NodeProto,
        leaf: str,
        prelu: tuple[NodeProto, NodeProto, NDArray[np.float32]],
    ) -> None:
        """Feed a maximum from the integers `leaf`, once with a scale per channel."""
        product, maximum, slopes = prelu
        scale, zero = dequantize.input[1:]
        scales, zeros = f"{product.output[0]}_scale", f"{product.output[0]}_zero_point"
        self._constant(scales, (slopes * self.constants[scale]).astype(np.float32))
        self._constant(zeros, np.full(len(slopes), self.constants[zero]))
        plain = f"{leaf}_DequantizeLinear_Output"
        self._add("DequantizeLinear", [leaf, scale, zero], plain)
        self._add("DequantizeLinear", [leaf, scales, zeros], product.output[0], axis=_CHANNEL_AXIS)
        maximum.input[list(maximum.input).index(leaf)] = plain
        self.graph.node.remove(product)

    def _constant(self, name: str, values: NDArray[np.generic]) -> None:
        self.graph.initializer.append(numpy_helper.from_array(values, name))

    def _add(self, operation: str, inputs: list[str], output: str, **attributes: int) -> None:
        name = output.removesuffix("_Output")
        self.graph.node.append(helper.make_node(operation, inputs, [output], name, **attributes))
