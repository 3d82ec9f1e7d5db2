"""An ONNX graph whose constants are read from a checkpoint's weights beside it.

A safetensors file is a length, a JSON header and the raw tensors, so ONNX can point at each tensor
as external data: file, offset, length. Behind a pointer the graph turns the tensor back into the
float32 constant that it stands for; an engine computes that once, when it loads the graph.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

_MIN_BYTES = 1024  # smaller constants stay: pointer, Cast and Mul take as much room
_MAX_MISMATCH = 1e-6  # of a row's largest value: what rounding a product to float32 leaves
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


@dataclass(frozen=True)
class _Stored:
    """A tensor of the weights' file, and the byte at which it begins there."""

    offset: int
    values: NDArray[Any]


@dataclass(frozen=True)
class _Origin:
    """Where a constant comes from: ``scale · transpose(stored)``, reshaped as need be.

    `axes` are the constant's, in the order in which they are stored; `scale` is per row.
    """

    stored: _Stored
    axes: tuple[int, ...]
    scale: NDArray[np.float32] | None = None


def share_weights(source: Path, weights: Path, out: Path) -> None:
    """Write the float32 graph `source` as one that reads the safetensors file `weights`.

    A constant of the graph that is one of the tensors, in another shape, with permuted axes or
    with scaled rows (which is what folding BatchNorm makes of it), is computed from that tensor;
    any other stays in the graph. So the graph may have any form.

    Args:
        weights: in the folder of `out`; ONNX looks nowhere else.
    """
    proto = onnx.load(source)
    stored = list(_read_tensors(weights))
    constants, nodes = [], []
    for initializer in proto.graph.initializer:
        array = numpy_helper.to_array(initializer)
        origin = _find_origin(array, stored)
        if origin is None:
            constants.append(initializer)
        else:
            inputs, steps = _rebuild(initializer.name, array.shape, origin, weights.name)
            constants += inputs
            nodes += steps
    nodes += proto.graph.node
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(constants)
    proto.graph.node.extend(nodes)
    out.write_bytes(proto.SerializeToString())
    onnx.checker.check_model(str(out))


def _read_tensors(path: Path) -> Iterator[_Stored]:
    """The float tensors of a safetensors file: header length (8 bytes), JSON header, data."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__" and entry["dtype"] in _DTYPES:
            first, last = (start + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[first:last], _DTYPES[entry["dtype"]])
            yield _Stored(first, values.reshape(entry["shape"]))


def _find_origin(array: NDArray[Any], stored: list[_Stored]) -> _Origin | None:
    if array.dtype != np.float32 or array.nbytes < _MIN_BYTES:
        return None
    candidates = [
        (tensor, tensor.values.astype(np.float32))
        for tensor in stored
        if tensor.values.size == array.size
    ]
    for axes in itertools.permutations(range(array.ndim)):
        content = array.transpose(axes).tobytes()
        for tensor, values in candidates:
            if values.tobytes() == content:
                return _Origin(tensor, axes)
    for tensor, values in candidates:
        scale = _row_scale(array, values)
        if scale is not None:
            return _Origin(tensor, tuple(range(array.ndim)), scale)
    return None


def _row_scale(array: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float32] | None:
    """The factor per row that makes `array` of `values`, shape ``(rows, 1, …)``, or None."""
    if len(values) != len(array) or values.size == len(values):
        return None  # a row of one value would be a multiple of any other
    rows, wanted = (x.reshape(len(x), -1).astype(np.float64) for x in (values, array))
    power = (rows * rows).sum(axis=1, keepdims=True)
    scale = (rows * wanted).sum(axis=1, keepdims=True) / np.where(power > 0, power, 1)
    error = np.abs(wanted - scale * rows).max(axis=1)
    if not (error <= _MAX_MISMATCH * np.abs(wanted).max(axis=1)).all():
        return None
    return np.asarray(scale.reshape(-1, *[1] * (array.ndim - 1)), np.float32)


def _rebuild(
    name: str, shape: tuple[int, ...], origin: _Origin, file_name: str
) -> tuple[list[TensorProto], list[NodeProto]]:
    """The constants and the nodes that make `name`; steps that change nothing are left out.

    tensor in the file ──▶ Cast to float32 ──▶ Transpose ──▶ Mul with the scale ──▶ name
    """
    stored, axes, scale = origin.stored, origin.axes, origin.scale
    steps: list[tuple[str, dict[str, Any]]] = []
    if stored.values.dtype != np.float32:
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    if axes != tuple(sorted(axes)):
        steps.append(("Transpose", {"perm": np.argsort(axes).tolist()}))
    if scale is not None:
        steps.append(("Mul", {}))
    names = [f"{name}.{step.lower()}" for step in ("stored", *(step for step, _ in steps))]
    names[-1] = name
    constants = [_point(names[0], [shape[axis] for axis in axes], stored, file_name)]
    nodes = []
    for (step, attributes), before, after in zip(steps, names[:-1], names[1:], strict=True):
        inputs = [before]
        if step == "Mul":
            inputs.append(f"{name}.scale")
            constants.append(numpy_helper.from_array(scale, inputs[1]))
        nodes.append(helper.make_node(step, inputs, [after], after, **attributes))
    return constants, nodes


def _point(name: str, shape: list[int], stored: _Stored, file_name: str) -> TensorProto:
    """An initializer whose bytes lie in another file."""
    dtype = helper.np_dtype_to_tensor_dtype(stored.values.dtype)
    tensor = TensorProto(name=name, dims=shape, data_type=dtype)
    tensor.data_location = TensorProto.EXTERNAL
    place = {"location": file_name, "offset": stored.offset, "length": stored.values.nbytes}
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
