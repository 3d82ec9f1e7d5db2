"""An ONNX graph with the names of this project's and a few nodes, sound or deliberately not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SAMPLES = 256


def quantize(name: str, scale: str, zero: str, **axis: int) -> list[onnx.NodeProto]:
    quantized, result = f"{name}_q", f"{name}_dq"
    return [
        helper.make_node(
            "QuantizeLinear", [name, scale, zero], [quantized], f"{name}_quant", **axis
        ),
        helper.make_node("DequantizeLinear", [quantized, scale, zero], [result], **axis),
    ]


def write_graph(
    path: Path, odd: str = "", zero_point: np.generic | None = None, batch: str | int = "batch",
    opset: int = 18,
) -> Path:  # fmt: skip
    """Unsqueeze, (Q/DQ,) Conv, ReduceMean, Gemm; `odd` is an operation that no parser knows."""
    rng = np.random.default_rng(0)
    constants = {
        "one": np.array([1]),
        "two": np.array([2]),
        "weight": rng.normal(size=(4, 1, 7)).astype(np.float32),
        "matrix": rng.normal(size=(4, 3)).astype(np.float32),
        "bias": np.zeros(3, np.float32),
    }
    nodes = [helper.make_node("Unsqueeze", ["waveform", "one"], ["x"])]
    x, weight = "x", "weight"
    if zero_point is not None:
        constants |= {"scale": np.float32(0.02), "zero": zero_point}
        constants |= {"scales": np.full(4, 0.02, np.float32), "zeros": np.zeros(4, np.int8)}
        nodes += quantize("x", "scale", "zero") + quantize("weight", "scales", "zeros", axis=0)
        x, weight = "x_dq", "weight_dq"
    nodes.append(helper.make_node("Conv", [x, weight], ["maps"], pads=[3, 3]))
    if odd:
        nodes.append(helper.make_node(odd, ["maps"], ["odd"], "the_odd_one", domain="example"))
    maps = "odd" if odd else "maps"
    nodes += [
        helper.make_node("ReduceMean", [maps, "two"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "matrix", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [batch, SAMPLES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3]),
         helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("example", 1), helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
