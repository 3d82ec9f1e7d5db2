"""Half precision: weights and arithmetic in float16, inputs and outputs in float32."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from gmme_exporters.graphs.queries import nodes_before_first_conv


def convert_fp16(source: Path, out: Path) -> None:
    """Write the float16 form of the float32 graph `source`.

    Uses ONNX Runtime's converter with its own list of operators that stay in float32; peak
    scaling stays too, since a quiet recording's samples are denormal in float16.
    """
    proto = onnx.load(source)
    with warnings.catch_warnings():
        # Weights beyond float16's smallest or largest number are clamped; parity is checked.
        warnings.filterwarnings("ignore", message="the float32 number")
        converted = convert_float_to_float16(
            proto, keep_io_types=True, node_block_list=nodes_before_first_conv(proto)
        )
    _remove_round_trips(converted)
    onnx.checker.check_model(converted)
    onnx.save(converted, out)


def _remove_round_trips(proto: ModelProto) -> None:
    """Undo ``float32 → float16 → float32`` between two nodes that both stay in float32.

        a ──Cast 16──▶ b ──Cast 32──▶ c        becomes        a ──▶ c

    The converter casts around every blocked node, so the waveform itself would pass through
    float16. It also leaves the nodes unsorted.
    """
    model = OnnxModel(proto)
    model.topological_sort()
    graph = proto.graph
    del graph.value_info[:]  # types from before the conversion
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    float32 = {
        value.name
        for value in (*inferred.input, *inferred.value_info)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    cast_to = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        for position, name in enumerate(node.input):
            back = cast_to.get(name)
            there = cast_to.get(back.input[0]) if back else None
            if name in float32 and there and there.input[0] in float32:
                node.input[position] = there.input[0]
    model.remove_unused_constant()
    _remove_dead_nodes(graph)


def _remove_dead_nodes(graph: GraphProto) -> None:
    used = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):  # consumers come after producers
        if used.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            used.update(node.input)
