"""Questions about an ONNX graph that several exporters ask."""

from __future__ import annotations

from typing import Any

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


def first_conv(proto: Any) -> str:  # noqa: ANN401 - onnx.ModelProto
    name: str = next(node.name for node in proto.graph.node if node.op_type == "Conv")
    return name
