"""An ONNX graph whose constants are read from a checkpoint's weights beside it.

A safetensors file is a length, a JSON header and the raw tensors, so ONNX can point at each tensor
as external data: file, offset, length. Behind a pointer the graph turns the tensor back into the
float32 constant that it stands for; an engine computes that once, when it loads the graph. A
constant that is none of the tensors, and that float16 holds without a loss, is stored in float16.
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
    """A tensor of the weights' file, or some of its rows, and the byte at which they begin."""

    offset: int
    values: NDArray[Any]

    def rows(self, start: int, count: int) -> _Stored:
        return _Stored(self.offset + start * self.values[0].nbytes, self.values[start:][:count])


@dataclass(frozen=True)
class _Origin:
    """Where a constant comes from: ``transpose(scale · stored)``, reshaped as need be.

    `axes` are the constant's, in the order in which they are stored; `scale` is per stored row.
    """

    stored: _Stored
    axes: tuple[int, ...]
    scale: NDArray[np.float32] | None = None


def share_weights(source: Path, weights: Path, out: Path) -> None:
    """Write the float32 graph `source` as one that reads the safetensors file `weights`.

    A constant of the graph is computed from one of the tensors where it has the same values or
    some consecutive rows of them, in another shape, with permuted axes or with scaled rows (which
    is what folding BatchNorm makes of it). Any other stays in the graph. So the graph may have any
    form.

    Args:
        weights: in the folder of `out`; ONNX looks nowhere else.
    """
    proto = onnx.load(source)
    stored = list(_read_tensors(weights))
    constants, nodes = [], []
    for initializer in proto.graph.initializer:
        array = numpy_helper.to_array(initializer)
        origin = _find_origin(array, stored)
        if origin is not None:
            inputs, steps = _rebuild(initializer.name, array.shape, origin, weights.name)
            constants += inputs
            nodes += steps
        elif _is_large(array) and np.array_equal(array.astype(np.float16), array):
            half = f"{initializer.name}.half"
            constants.append(numpy_helper.from_array(array.astype(np.float16), half))
            nodes.append(helper.make_node("Cast", [half], [initializer.name], to=TensorProto.FLOAT))
        else:
            constants.append(initializer)
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


def _is_large(array: NDArray[Any]) -> bool:
    return array.dtype == np.float32 and array.nbytes >= _MIN_BYTES


def _find_origin(array: NDArray[Any], stored: list[_Stored]) -> _Origin | None:
    if not _is_large(array):
        return None
    orders = list(itertools.permutations(range(array.ndim)))
    for axes in orders:
        content = array.transpose(axes).tobytes()
        for tensor in stored:
            whole = tensor.values.size == array.size
            if whole and tensor.values.astype(np.float32).tobytes() == content:
                return _Origin(tensor, axes)
    for axes in orders:
        turned = array.transpose(axes)
        for part in _parts_like(turned, stored):
            scale = _row_scale(turned, part.values)
            if scale is not None:
                return _Origin(part, axes, scale)
    return None


def _parts_like(array: NDArray[Any], stored: list[_Stored]) -> Iterator[_Stored]:
    """The tensors of as many values, then rows of larger ones whose first is like the array's."""
    yield from (tensor for tensor in stored if tensor.values.size == array.size)
    for tensor in stored:
        n_rows, values = len(array), tensor.values
        alike = values.ndim == array.ndim > 1 and values.shape[1:] == array.shape[1:]
        if alike and len(values) > n_rows:
            for start in range(len(values) - n_rows + 1):
                if _row_scale(array[:1], values[start : start + 1]) is not None:
                    yield tensor.rows(start, n_rows)


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

    tensor in the file ──▶ Cast to float32 ──▶ Mul with the scale ──▶ Transpose ──▶ name
    """
    stored, axes, scale = origin.stored, origin.axes, origin.scale
    steps: list[tuple[str, dict[str, Any]]] = []
    if stored.values.dtype != np.float32:
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    if scale is not None and not np.array_equal(scale, np.ones_like(scale)):
        steps.append(("Mul", {}))
    if axes != tuple(sorted(axes)):
        steps.append(("Transpose", {"perm": np.argsort(axes).tolist()}))
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
