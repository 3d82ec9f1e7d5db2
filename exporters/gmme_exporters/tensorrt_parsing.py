"""ONNX file → TensorRT network, with the parser's complaints made readable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from gmme_edge.errors import InputError, PlatformError
from gmme_edge.runtime.bundle import INPUT, OUTPUTS
from gmme_edge.runtime.tensorrt_library import EngineLog, shared_logger

_INT8_FIX = (
    "build from the int8-tensorrt graph: symmetric int8, zero points of 0, biases in floating "
    "point; int8-ort graphs are for ONNX Runtime only."
)
_FIXES = (
    ("QuantizeLinear", _INT8_FIX),
    ("DequantizeLinear", _INT8_FIX),
    ("must have type", _INT8_FIX),
    ("Attention", "export with --opset 18, which writes attention as MatMul and Softmax."),
    ("LayerNormalization", "export with --opset 16, which writes it as elementary operations."),
)
_OTHER_FIX = "export again with --opset 18, or use a newer version of the library."


def create_network(library: ModuleType, builder: Any) -> Any:  # noqa: ANN401 - no stubs
    """An empty network that takes its precision from the graph, where the version can do so.

    `EXPLICIT_BATCH` must be given up to TensorRT 8 and is gone from 11; `STRONGLY_TYPED` is
    absent from 8, chosen here in 10 and the only way from 11.
    """
    flags = library.NetworkDefinitionCreationFlag
    wanted = (
        getattr(flags, name)
        for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED")
        if hasattr(flags, name)
    )
    return builder.create_network(sum(1 << int(flag) for flag in wanted))


def parse_network(
    library: ModuleType,
    network: Any,  # noqa: ANN401 - no stubs
    onnx_path: Path,
    log: EngineLog,
) -> int:
    """Parse `onnx_path` into `network`; returns the clip's length in samples.

    Raises:
        InputError: not an ONNX file, or not a graph of this project.
        PlatformError: the library cannot parse a node; names the node, its operation, why, and
            what to do.
    """
    if not onnx_path.is_file():
        raise InputError(f"{onnx_path} does not exist.", "an exported ONNX file.")
    _check_opset(library, onnx_path)
    parser = library.OnnxParser(network, shared_logger(library))
    # From the file, not its bytes: weights may lie in a second file next to it.
    if not parser.parse_from_file(str(onnx_path)):
        raise _parser_error(library, parser, onnx_path, log)
    return _check_network(library, network, onnx_path)


def _check_opset(library: ModuleType, onnx_path: Path) -> None:
    if int(library.__version__.partition(".")[0]) != 8:
        return
    opset = read_opset(onnx_path.read_bytes())
    if opset > 17:
        # TensorRT 8 ignores ReduceMean's axes where they are an input (opset 18 on), silently.
        raise PlatformError(
            f"{onnx_path.name} has opset {opset}; TensorRT {library.__version__} would compute "
            "ReduceMean over the wrong axes, without an error.",
            "opset 17 or lower for TensorRT 8.",
            "export again with --opset 16.",
        )


def _parser_error(
    library: ModuleType,
    parser: Any,  # noqa: ANN401 - no stubs
    onnx_path: Path,
    log: EngineLog,
) -> PlatformError | InputError:
    if not parser.num_errors:
        return InputError(f"{onnx_path} cannot be parsed: {log.reason()}", "an ONNX file.")
    error = parser.get_error(0)
    # TensorRT 8 knows a node only by its index.
    name = error.node_name() if hasattr(error, "node_name") else ""
    operation = error.node_operator() if hasattr(error, "node_operator") else ""
    if error.code() == library.ErrorCode.MODEL_DESERIALIZE_FAILED:
        return InputError(f"{onnx_path} is no ONNX file: {error.desc()}", "an exported ONNX file.")
    node = f"node {error.node()}" + (f" {name!r}" if name else "")
    reason = f"{operation} {error.desc()} {log.reason()}"
    return PlatformError(
        f"{library.__name__} {library.__version__} cannot parse {onnx_path.name}: {node}"
        + (f" ({operation})" if operation else "")
        + f": {error.code().name}: {error.desc()}",
        "a graph whose every operation the library supports.",
        next((fix for text, fix in _FIXES if text in reason), _OTHER_FIX),
    )


def _check_network(library: ModuleType, network: Any, onnx_path: Path) -> int:  # noqa: ANN401
    """The clip's length; the parser accepts some files that hold no graph at all."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index).name for index in range(network.num_outputs)]
    described = [f"{value.name} {tuple(value.shape)} {value.dtype}" for value in inputs]
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    if (
        len(shape) != 2
        or inputs[0].name != INPUT
        or inputs[0].dtype != library.float32
        or shape[0] != -1
        or shape[1] < 1
        or OUTPUTS[0] not in outputs
    ):
        raise InputError(
            f"{onnx_path} has inputs {described} and outputs {outputs}.",
            f"one float32 input {INPUT!r} (batch, samples) with a dynamic batch and a fixed number "
            f"of samples, and an output {OUTPUTS[0]!r}.",
            "export the graph again.",
        )
    return int(shape[1])


def read_opset(model: bytes) -> int:
    """The default domain's opset of a serialized ONNX model; 0 where it states none.

    Read from the protobuf wire format (`ModelProto.opset_import` is field 8), so that a Jetson
    needs no onnx package to build an engine.
    """
    for field, content in _fields(model):
        if field == 8 and isinstance(content, bytes):
            entry = dict(_fields(content))
            if entry.get(1, b"") in (b"", b"ai.onnx"):
                version = entry.get(2, 0)
                return version if isinstance(version, int) else 0
    return 0


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
