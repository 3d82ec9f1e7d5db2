"""Changes of shape on integers: the same numbers from fewer roundings."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gmme_exporters.int8.shapes import move_shapes

_SIZE = [1, 4, 6, 6]
_SLOPES = np.array([0, 0.25, 0.5, 1], np.float32)[:, None, None]


def _pair(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [f"{name}_dq"]),
    ]


def _model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    constants = {"scale": np.float32(0.02), "zero": np.uint8(100), "slopes": _SLOPES}
    graph = helper.make_graph(
        nodes,
        "shapes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SIZE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _operations(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def _run(proto: onnx.ModelProto) -> np.ndarray:
    """By definition, without ONNX Runtime's rewrites."""
    nodes, known = list(proto.graph.node), {"x", *(t.name for t in proto.graph.initializer)}
    del proto.graph.node[:]
    while nodes:  # as the quantizer puts them in order when it saves
        ready = [node for node in nodes if known.issuperset(node.input)]
        nodes = [node for node in nodes if node not in ready]
        proto.graph.node.extend(ready)
        known.update(name for node in ready for name in node.output)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).standard_normal(_SIZE).astype(np.float32)
    y: np.ndarray = session.run(None, {"x": x})[0]
    return y


def _prelu(source: str, result: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", [source, "slopes"], [f"{result}_product"]),
        helper.make_node("Max", [source, f"{result}_product"], [result]),
    ]


def test_readers_of_one_tensor_share_its_rounding() -> None:
    turn = [
        helper.make_node("Transpose", ["x"], [name], perm=perm)
        for name, perm in (("a", [0, 1, 3, 2]), ("b", [0, 1, 2, 3]))
    ]
    nodes = [*turn, *_pair("a"), *_pair("b"), helper.make_node("Add", ["a_dq", "b_dq"], ["y"])]
    proto = _model(nodes)
    expected = _run(_model(nodes))
    move_shapes(proto)
    assert _operations(proto).count("QuantizeLinear") == 1
    np.testing.assert_array_equal(_run(proto), expected)


def test_a_float_that_something_else_reads_stays() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 1, 3, 2]),
        helper.make_node("Identity", ["x"], ["b"]),
        *_pair("a"),
        helper.make_node("Add", ["a_dq", "a"], ["sum"]),
        helper.make_node("Add", ["sum", "b"], ["y"]),
    ]
    proto = _model(nodes)
    move_shapes(proto)
    assert _operations(proto) == [node.op_type for node in nodes]


def test_slopes_become_scales() -> None:
    turn = helper.make_node("Transpose", ["x_dq"], ["turned"], perm=[0, 1, 3, 2])
    nodes = [*_pair("x"), turn, *_prelu("turned", "y")]
    proto = _model(nodes)
    expected = _run(_model(nodes))
    move_shapes(proto)
    assert "Mul" not in _operations(proto)
    assert _operations(proto).count("DequantizeLinear") == 2
    np.testing.assert_allclose(_run(proto), expected, rtol=1e-6)


def test_slopes_stay_where_the_floats_are_read_besides() -> None:
    turn = helper.make_node("Transpose", ["x_dq"], ["turned"], perm=[0, 1, 3, 2])
    last = helper.make_node("Add", ["prelu", "turned"], ["y"])
    nodes = [*_pair("x"), turn, *_prelu("turned", "prelu"), last]
    proto = _model(nodes)
    move_shapes(proto)
    assert _operations(proto) == [node.op_type for node in nodes]
