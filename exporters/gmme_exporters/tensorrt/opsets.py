"""Which opsets and operations a TensorRT version takes, checked before it parses a graph.

Read from the protobuf wire format, so that a Jetson needs no onnx package to build an engine.
Sources: onnx-tensorrt's ``docs/operators.md`` (8.4 to 8.6: opset 17 or lower; 9: 19; 10.0: 20;
LayerNormalization is absent in 8.5 and there from 8.6.1) and its importer of ReduceMean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gmme_edge.errors import PlatformError

_OPSET_OF_8 = 17
_LAYER_NORM_SINCE = (8, 6, 1)


def check_opset(version: str, onnx_path: Path) -> None:
    """Refuse a graph that TensorRT 8 would compute wrongly, or lacks an operation for.

    Args:
        version: of the library, for example ``"8.6.2.3"``.

    Raises:
        PlatformError: with the opset to export with.
    """
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers[:1] != (8,):
        return
    model = onnx_path.read_bytes()
    opset = read_opset(model)
    if opset > _OPSET_OF_8:
        # TensorRT 8 ignores ReduceMean's axes where they are an input (opset 18 on), silently.
        raise PlatformError(
            f"{onnx_path.name} has opset {opset}; TensorRT {version} would compute "
            "ReduceMean over the wrong axes, without an error.",
            f"opset {_OPSET_OF_8} or lower for TensorRT 8.",
            "export again with --opset 16.",
        )
    if numbers < _LAYER_NORM_SINCE and "LayerNormalization" in read_operations(model):
        raise PlatformError(
            f"{onnx_path.name} has opset {opset} and LayerNormalization, which TensorRT "
            f"{version} cannot parse.",
            "opset 16 or lower, which writes it as elementary operations.",
            "export again with --opset 16.",
        )


def read_opset(model: bytes) -> int:
    """The default domain's opset of a serialized ONNX model; 0 where it states none."""
    for field, content in _fields(model):
        if field == 8 and isinstance(content, bytes):  # ModelProto.opset_import
            entry = dict(_fields(content))
            if entry.get(1, b"") in (b"", b"ai.onnx"):
                version = entry.get(2, 0)
                return version if isinstance(version, int) else 0
    return 0


def read_operations(model: bytes) -> set[str]:
    """The operations of a serialized ONNX model's main graph, of any domain."""
    nodes = [
        node
        for graph in _messages(model, 7)  # ModelProto.graph
        for node in _messages(graph, 1)  # GraphProto.node
    ]
    return {name.decode(errors="replace") for node in nodes for name in _messages(node, 4)}


def _messages(message: bytes, wanted: int) -> list[bytes]:
    found = (content for field, content in _fields(message) if field == wanted)
    return [content for content in found if isinstance(content, bytes)]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of one protobuf message; ends early where it is damaged."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind, -1)
        if kind == 2:
            size, position = _varint(message, position)
        if size < 0:
            return
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(position, len(message)):
        value |= (message[index] & 127) << shift
        shift += 7
        if message[index] < 128:
            return value, index + 1
    return value, len(message)
