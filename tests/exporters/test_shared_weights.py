"""Graphs that read a safetensors file: each way in which a constant can follow from a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from gmme_exporters.graphs.shared_weights import share_weights

RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(24, 4, 8)).astype(np.float16)
FLOAT = RNG.normal(size=(16, 24)).astype(np.float32)
TENSORS = {
    "half": HALF,
    "float": FLOAT,
    "integer": np.arange(9),
    "other": RNG.normal(size=(24, 32)).astype(np.float16),
}
SCALE = RNG.normal(size=(24, 1, 1)).astype(np.float32)
SCALE[3] = 0
WIDE = HALF.astype(np.float32)
CONSTANTS: dict[str, tuple[np.ndarray, list[str]]] = {
    "as it is": (FLOAT, []),
    "float16": (WIDE, ["Cast"]),
    "another shape": (WIDE.reshape(12, -1), ["Cast"]),
    "transposed": (FLOAT.T, ["Transpose"]),
    "permuted": (WIDE.transpose(2, 0, 1), ["Cast", "Transpose"]),
    "scaled rows": (WIDE * SCALE, ["Cast", "Mul"]),
    "scaled rows of another shape": ((WIDE * SCALE)[:, :, None], ["Cast", "Mul"]),
    "scaled rows, transposed": ((FLOAT * SCALE[:16, 0]).T, ["Mul", "Transpose"]),
    "some rows": (FLOAT[3:15], []),
    "some scaled rows, transposed": ((FLOAT * SCALE[:16, 0])[4:].T, ["Mul", "Transpose"]),
}
STRANGERS = {
    "one value off": WIDE + np.eye(1, WIDE.size, dtype=np.float32).reshape(WIDE.shape),
    "scaled columns": WIDE * RNG.normal(size=8).astype(np.float32),
    "scaled and off": (WIDE + 1e-3) * SCALE,
    "small": FLOAT[:4, :4].copy(),
    "integers": np.arange(300),
    "float64": FLOAT.astype(np.float64),
    "a long vector": RNG.normal(size=768).astype(np.float32),
}


def write(folder: Path, array: np.ndarray) -> tuple[Path, Path]:
    """``constant``, the graph's output, is an initializer; and the weights' file."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["weight"], ["constant"])], "one", [],
        [helper.make_tensor_value_info("constant", kind, array.shape)],
        [numpy_helper.from_array(np.ascontiguousarray(array), "weight")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "source.onnx")
    save_file(TENSORS, folder / "weights.safetensors", metadata={"format": "np"})
    return folder / "source.onnx", folder / "weights.safetensors"


def share(folder: Path, array: np.ndarray) -> tuple[Any, np.ndarray]:
    source, weights = write(folder, array)
    share_weights(source, weights, folder / "target.onnx")
    proto = onnx.load(folder / "target.onnx", load_external_data=False)
    session = onnxruntime.InferenceSession(
        folder / "target.onnx", providers=["CPUExecutionProvider"]
    )
    return proto.graph, session.run(None, {})[0]


@pytest.mark.parametrize("case", CONSTANTS)
def test_a_constant_is_computed_from_its_tensor(tmp_path: Path, case: str) -> None:
    array, steps = CONSTANTS[case]
    graph, value = share(tmp_path, array)
    assert [node.op_type for node in graph.node] == [*steps, "Identity"]
    np.testing.assert_allclose(value, array, rtol=1e-6, atol=0)
    if "Mul" not in steps:
        np.testing.assert_array_equal(value, array)
    (pointer,) = (t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL)
    place = {entry.key: entry.value for entry in pointer.external_data}
    content = (tmp_path / place["location"]).read_bytes()
    first = int(place["offset"])
    stored = FLOAT if "Cast" not in steps else HALF
    stored = {"some rows": FLOAT[3:15], "some scaled rows, transposed": FLOAT[4:]}.get(case, stored)
    assert content[first : first + int(place["length"])] == stored.tobytes()


@pytest.mark.parametrize("case", STRANGERS)
def test_what_no_tensor_explains_stays(tmp_path: Path, case: str) -> None:
    graph, value = share(tmp_path, STRANGERS[case])
    (kept,) = graph.initializer
    assert kept.data_location == TensorProto.DEFAULT and len(graph.node) == 1
    np.testing.assert_array_equal(value, STRANGERS[case])


def test_what_float16_holds_is_stored_in_it(tmp_path: Path) -> None:
    array = RNG.normal(size=(30, 30)).astype(np.float16).astype(np.float32)
    graph, value = share(tmp_path, array)
    (kept,) = graph.initializer
    assert kept.data_type == TensorProto.FLOAT16 and len(kept.raw_data) == array.nbytes / 2
    np.testing.assert_array_equal(value, array)
