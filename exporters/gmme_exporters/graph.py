"""Questions about an ONNX graph that several exporters ask."""

from __future__ import annotations

from typing import Any

from gmme_edge.blocks import FILTERS_OF_FRONT, block_of
from gmme_edge.runtime.bundle import INPUT


def nodes_before_first_conv(proto: Any) -> list[str]:  # noqa: ANN401 - onnx.ModelProto
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


def front_convs(proto: Any) -> list[str]:  # noqa: ANN401 - onnx.ModelProto
    """Names of the convolutions up to and including the second anti-alias filter.

    They see the waveform's own dynamic range, loud onsets and near silence in one clip, and on
    the silent part 8 bits round constants, an error that all later sums add up in phase. Which
    of them stay in floating point was measured (`docs/precision.md`).
    """
    convs = [node for node in proto.graph.node if node.op_type == "Conv"]
    filters = [block_of(node.name) for node in convs if _is_strided_depthwise(node)]
    blocks = list(dict.fromkeys(block_of(node.name) for node in convs))
    last = list(dict.fromkeys(filters))[:FILTERS_OF_FRONT][-1]
    front = blocks[: blocks.index(last) + 1]
    return [node.name for node in convs if block_of(node.name) in front]


def _is_strided_depthwise(conv: Any) -> bool:  # noqa: ANN401 - onnx.NodeProto
    attributes = {a.name: (a.i, list(a.ints)) for a in conv.attribute}
    group, strides = attributes.get("group", (1, []))[0], attributes["strides"][1]
    return bool(group > 1 and max(strides) > 1)
