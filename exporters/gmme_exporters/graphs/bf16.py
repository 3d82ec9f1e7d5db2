"""FP16 graph → the same graph in bfloat16, for TensorRT 10, 11 and TensorRT-RTX.

bfloat16 keeps float32's range and 8 bits of its precision: for networks whose activations
overflow float16. ONNX Runtime's CPU has no kernels for it, so the result can be compared with
torch on a GPU only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from gmme_edge.errors import UsageError
from gmme_edge.files import replacing

_FP16, _BF16 = TensorProto.FLOAT16, TensorProto.BFLOAT16


def convert_bf16(fp16_onnx: Path, out: Path) -> None:
    """Write `out`: what is float16 in `fp16_onnx` as bfloat16; what is float32 stays so.

    Which nodes are in float32 was decided for float16: peak scaling, inputs and outputs.

    Raises:
        UsageError: the graph has no float16 tensor.
    """
    model = onnx.load(fp16_onnx)
    halves = [t for t in _tensors(model) if t.data_type == _FP16]
    if not halves:
        raise UsageError(f"{fp16_onnx} has no float16 weights.", "the bundle's fp16 graph.")
    for tensor in halves:
        tensor.CopyFrom(_to_bfloat16(tensor))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FP16:
                attribute.i = _BF16
    del model.graph.value_info[:]  # the types of inner tensors follow from the weights and casts
    with replacing(out) as temporary:
        onnx.save(model, temporary)


def _tensors(model: ModelProto) -> list[TensorProto]:
    return [*model.graph.initializer, *(t for node in model.graph.node for t in _constants(node))]


def _constants(node: NodeProto) -> list[TensorProto]:
    return [attribute.t for attribute in node.attribute if attribute.HasField("t")]


def _to_bfloat16(tensor: TensorProto) -> TensorProto:
    """Rounded to the nearest, ties to even; finite values only, as weights are."""
    bits = numpy_helper.to_array(tensor).astype(np.float32).view(np.uint32)
    raw = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return TensorProto(name=tensor.name, dims=tensor.dims, data_type=_BF16, raw_data=raw)
