"""Questions about an ONNX graph that several exporters ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from gmme_edge.blocks import FILTERS_OF_FRONT, Layer, block_of
from gmme_edge.bundle.bundle import INPUT

WEIGHTED = ("Conv", "Gemm", "MatMul")


def list_operators(path: Path) -> tuple[str, ...]:
    """The operations of an ONNX file, each once, sorted; for the manifest."""
    nodes = onnx.load(path, load_external_data=False).graph.node
    return tuple(sorted({node.op_type for node in nodes}))


def nodes_before_first_conv(proto: ModelProto) -> list[str]:
    """Names of the nodes that turn the raw waveform into the first convolution's input.

    Peak scaling is among them: it divides by a peak that can be far below what 16-bit floats
    or 8-bit integers resolve, so every reduced precision leaves these nodes in float32.
    """
    reached, names = {INPUT}, []
    for node in proto.graph.node:
        if node.op_type == "Conv":
            break
        if node.op_type != "Shape" and reached & set(node.input):
            reached |= set(node.output)
            names.append(node.name)
    return names


def front_convs(proto: ModelProto) -> list[str]:
    """Names of the convolutions up to and including the second strided filter per channel.

    They see the waveform's own dynamic range, loud onsets and near silence in one clip, and on
    the silent part 8 bits round constants, an error that all later sums add up in phase. Which
    of them stay in floating point was measured (`docs/explanation/precision.md`).
    """
    convs = [node for node in proto.graph.node if node.op_type == "Conv"]
    filters = [block_of(node.name) for node in convs if _is_strided_depthwise(node)]
    blocks = list(dict.fromkeys(block_of(node.name) for node in convs))
    last = list(dict.fromkeys(filters))[:FILTERS_OF_FRONT][-1]
    front = blocks[: blocks.index(last) + 1]
    return [node.name for node in convs if block_of(node.name) in front]


def _is_strided_depthwise(conv: NodeProto) -> bool:
    attributes = {a.name: (a.i, list(a.ints)) for a in conv.attribute}
    group, strides = attributes.get("group", (1, []))[0], attributes["strides"][1]
    return bool(group > 1 and max(strides) > 1)


def weighted_layers(proto: ModelProto) -> tuple[Layer, ...]:
    """The convolutions and matrix products with weights, in the graph's order.

    Attention's two products have none, and count for nothing here as in `gmme_edge.complexity`.
    """
    weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    users: dict[str, list[NodeProto]] = {}
    for node in proto.graph.node:
        if node.op_type in WEIGHTED and node.input[1] in weights:
            users.setdefault(node.input[1], []).append(node)
    # Inferred shapes are not always complete: a clip tells how many values there are.
    values = in_silence(proto, [node.output[0] for nodes in users.values() for node in nodes])
    return tuple(
        Layer(
            nodes[0].name.split("/")[0],
            tuple(node.name for node in nodes),
            tuple(node.output[0] for node in nodes),
            sum(values[n.output[0]].size * _products(n, weights[weight]) for n in nodes),
            nodes[0].op_type == "Conv",
        )
        for weight, nodes in users.items()
    )


def in_silence(proto: ModelProto, tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The values of a graph's tensors for one silent clip."""
    exposed = ModelProto()
    exposed.CopyFrom(proto)
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    n_samples = proto.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(list(tensors), {INPUT: np.zeros((1, n_samples), np.float32)})
    return dict(zip(tensors, values, strict=True))


def _products(node: NodeProto, weight: list[int]) -> int:
    """How many multiply-adds give one value: a convolution's weight is (out, in / groups, …)."""
    if node.op_type == "Conv":
        return math.prod(weight[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return weight[1 if transposed else 0]
