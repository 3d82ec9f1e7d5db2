"""Which opsets and operations a TensorRT version takes, checked before it parses a graph.

The bundle's manifest tells both, so that a Jetson needs no onnx package to build an engine. A graph
that no manifest describes is read with onnx.
Sources: onnx-tensorrt's ``docs/operators.md`` (8.4 to 8.6: opset 17 or lower; 9: 19; 10.0: 20;
LayerNormalization is absent in 8.5 and there from 8.6.1) and its importer of ReduceMean.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from gmme_edge.bundle.bundle import MANIFEST, Bundle
from gmme_edge.errors import InputError, PlatformError, require
from gmme_edge.files import sha256_of

_OPSET_OF_8 = 17
_LAYER_NORM_SINCE = (8, 6, 1)
_FIRST_LAYER_NORM = 17  # the opset that brought LayerNormalization


def check_opset(version: str, onnx_path: Path) -> None:
    """Refuse a graph that TensorRT 8 would compute wrongly, or lacks an operation for.

    Args:
        version: of the library, for example ``"8.6.2.3"``.

    Raises:
        PlatformError: with the opset to export with.
        MissingDependencyError: no manifest tells the operations, and onnx is not installed.
    """
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers[:1] != (8,):
        return
    opset, operators = _describe_graph(onnx_path)
    if opset > _OPSET_OF_8:
        # TensorRT 8 ignores ReduceMean's axes where they are an input (opset 18 on), silently.
        raise PlatformError(
            f"{onnx_path.name} has opset {opset}; TensorRT {version} would compute "
            "ReduceMean over the wrong axes, without an error.",
            f"opset {_OPSET_OF_8} or lower for TensorRT 8.",
            "export again with --opset 16.",
        )
    if numbers < _LAYER_NORM_SINCE and "LayerNormalization" in operators:
        raise PlatformError(
            f"{onnx_path.name} has opset {opset} and LayerNormalization, which TensorRT "
            f"{version} cannot parse.",
            "opset 16 or lower, which writes it as elementary operations.",
            "export again with --opset 16.",
        )


def _describe_graph(path: Path) -> tuple[int, Collection[str]]:
    """The default domain's opset, and the operations as far as they matter here."""
    if (path.parent / MANIFEST).is_file():
        for file in Bundle.open(path.parent).manifest.files:
            told = file.operators or 0 < file.opset < _FIRST_LAYER_NORM
            if file.path == path.name and told and file.sha256 == sha256_of(path):
                return file.opset, file.operators
    onnx = require("onnx", f"read the opset of {path.name}, which no manifest beside it tells")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, which only its own package can name
        raise InputError(f"{path} is no ONNX file: {error}", "an exported ONNX file.") from error
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return max(opsets, default=0), {node.op_type for node in model.graph.node}
