"""ONNX file → TensorRT network, with the parser's complaints made readable."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from gmme_edge.bundle.bundle import INPUT, OUTPUTS
from gmme_edge.errors import InputError, PlatformError
from gmme_edge.runtime.engines.library import EngineLog, shared_logger
from gmme_exporters.tensorrt.objects import Builder, Network, Parser
from gmme_exporters.tensorrt.opsets import check_opset

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


def create_network(library: ModuleType, builder: Builder) -> Network:
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
    network: Network,
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
    check_opset(library.__version__, onnx_path)
    parser = library.OnnxParser(network, shared_logger(library))
    # From the file, not its bytes: weights may lie in a second file next to it.
    if not parser.parse_from_file(str(onnx_path)):
        raise _parser_error(library, parser, onnx_path, log)
    return _check_network(library, network, onnx_path)


def _parser_error(
    library: ModuleType,
    parser: Parser,
    onnx_path: Path,
    log: EngineLog,
) -> PlatformError | InputError:
    if not parser.num_errors:
        return InputError(f"{onnx_path} cannot be parsed: {log.reason()}", "an ONNX file.")
    failure = parser.get_error(0)
    # TensorRT 8 knows a node only by its index.
    name = failure.node_name() if hasattr(failure, "node_name") else ""
    operation = failure.node_operator() if hasattr(failure, "node_operator") else ""
    if failure.code() == library.ErrorCode.MODEL_DESERIALIZE_FAILED:
        return InputError(
            f"{onnx_path} is no ONNX file: {failure.desc()}", "an exported ONNX file."
        )
    node = f"node {failure.node()}" + (f" {name!r}" if name else "")
    reason = f"{operation} {failure.desc()} {log.reason()}"
    return PlatformError(
        f"{library.__name__} {library.__version__} cannot parse {onnx_path.name}: {node}"
        + (f" ({operation})" if operation else "")
        + f": {failure.code().name}: {failure.desc()}",
        "a graph whose every operation the library supports.",
        next((fix for text, fix in _FIXES if text in reason), _OTHER_FIX),
    )


def _check_network(library: ModuleType, network: Network, onnx_path: Path) -> int:
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
