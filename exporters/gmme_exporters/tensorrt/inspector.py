"""What an engine really contains: its layers after fusion, their precisions, kernels and shapes.

The builder is free to compute a layer of an fp16 or int8 graph in FP32, and to insert layers that
only convert formats; only the engine tells. Reading it needs the GPU that it was built for.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gmme_edge.device.cuda import open_cudart
from gmme_edge.errors import EngineError, InputError, PlatformError
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.runtime.engines.library import captured_log, create_object, load_library
from gmme_exporters.tensorrt.objects import Engine

# As they stand in the inspector's free text, for example "Row major linear FP16 format", "Channel
# major FP32 format", "Thirty-two wide channel vectorized row major Int8 format", or "Half".
_PRECISIONS = (
    ("BF16", r"bf16|bfloat16"),
    ("FP16", r"fp16|half|float16"),
    ("FP8", r"fp8|float8"),
    ("INT8", r"int8"),
    ("INT64", r"int64"),
    ("INT32", r"int32"),
    ("BOOL", r"bool"),
    ("FP32", r"fp32|float"),
)
_IDLE_TYPES = frozenset(
    {"reformat", "noop", "constant", "shuffle", "identity"}  # these move data
    | {"signal", "wait", "shape_call"}  # TensorRT-RTX: its streams wait for one another
)


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        kind: the inspector's ``LayerType``, for example ``CaskConvolution``; "" where unknown.
        precision: of its first floating-point or quantized input; "" where the engine does not
            say, as for shapes that are not known before it runs.
        inputs: shapes, -1 where dynamic; so `outputs`.
        tactic: the kernel's name, or its number where it has no name.
        computes: False for a layer that only copies, reformats, reshapes or waits.
    """

    name: str
    kind: str
    precision: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    tactic: str
    computes: bool


@dataclass(frozen=True)
class EngineLayers:
    """An engine's layers, in order of execution."""

    layers: tuple[EngineLayer, ...]

    @property
    def precisions(self) -> dict[str, int]:
        """How many computing layers run in each precision; "unknown" where it is not said."""
        counts = Counter(layer.precision or "unknown" for layer in self.layers if layer.computes)
        return dict(counts.most_common())

    @property
    def n_fp32(self) -> int:
        """How many computing layers run in FP32: in an fp16 or int8 engine, what fell back."""
        return self.precisions.get("FP32", 0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "kind": "engine-layers",
            "n_layers": len(self.layers),
            "n_fp32": self.n_fp32,
            "precisions": self.precisions,
            "layers": [asdict(layer) for layer in self.layers],
        }


def inspect_engine(engine_path: Path) -> EngineLayers:
    """Load `engine_path` on this machine's GPU and list its layers.

    Dynamic shapes are those of the largest batch.

    Raises:
        BundleError: the sidecar is missing or damaged.
        MissingDependencyError: the library is not installed.
        PlatformError: no GPU here; an engine cannot be read without the one it was built for.
        EngineError: the library does not load the engine; the message has its reason.
    """
    info = EngineInfo.read(engine_path)
    library = load_library(info.flavour, "inspect an engine")
    _check_gpu(engine_path)
    with captured_log(library) as log:
        runtime = create_object(library, library.Runtime, log)
        engine = runtime.deserialize_cuda_engine(engine_path.read_bytes())
        if engine is None:
            raise EngineError(
                f"{info.flavour} {library.__version__} cannot load {engine_path}: {log.reason()}",
                f"the machine that it was built for: {info.flavour} {info.version}, compute "
                f"capability {info.compute_capability}.",
                "inspect it there, or build it here.",
            )
        return parse_layers(_information(library, engine, info.max_batch))


def _check_gpu(engine_path: Path) -> None:
    """Said here, because the library would give a CUDA error code."""
    try:
        open_cudart()
    except PlatformError as error:
        raise PlatformError(
            f"{engine_path} cannot be inspected here: {error.got}",
            "the GPU that it was built for: no other machine can read an engine.",
            "inspect it there, or give the file that trtexec --exportLayerInfo wrote (--layers).",
        ) from error


def _information(library: ModuleType, engine: Engine, batch: int) -> str:
    """The inspector's JSON, with the shapes of `batch` clips where the engine allows that."""
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is not None:
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT:
                context.set_input_shape(name, (batch, *tuple(engine.get_tensor_shape(name))[1:]))
        inspector.execution_context = context
    return str(inspector.get_engine_information(library.LayerInformationFormat.JSON))


def parse_layers(text: str) -> EngineLayers:
    """The layers in the JSON of `EngineInspector.get_engine_information`.

    Its documented shape: ``{"Layers": [...], "Bindings": [...]}``. A layer is an object with
    ``Name``, ``LayerType``, ``Inputs``, ``Outputs`` (``Name``, ``Dimensions``,
    ``Format/Datatype``), ``TacticName`` and ``TacticValue``; or only its name, where the engine
    was built without details. NVIDIA announces further keys, so unknown ones are passed over.

    Raises:
        InputError: no JSON of that shape.
    """
    try:
        layers = json.loads(text)["Layers"]
        return EngineLayers(tuple(_layer(layer) for layer in layers))
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The inspector's text is not understood ({type(error).__name__}).",
            'JSON with a list "Layers".',
        ) from error


def _layer(layer: str | Mapping[str, Any]) -> EngineLayer:
    if isinstance(layer, str):
        return EngineLayer(layer, "", "", (), (), "", computes=True)
    kind = str(layer.get("LayerType", ""))
    inputs, outputs = layer.get("Inputs", ()), layer.get("Outputs", ())
    formats = [str(tensor.get("Format/Datatype", "")) for tensor in (*inputs, *outputs)]
    return EngineLayer(
        name=str(layer["Name"]),
        kind=kind,
        precision=_precision(formats),
        inputs=tuple(tuple(map(int, tensor["Dimensions"])) for tensor in inputs),
        outputs=tuple(tuple(map(int, tensor["Dimensions"])) for tensor in outputs),
        tactic=str(layer.get("TacticName") or layer.get("TacticValue", "")),
        computes=kind.lower() not in _IDLE_TYPES,
    )


def _precision(formats: list[str]) -> str:
    """The first format's precision that is not of an index or shape tensor."""
    found = [
        next((name for name, pattern in _PRECISIONS if re.search(pattern, text.lower())), "")
        for text in formats
    ]
    numbers = [name for name in found if name and name not in ("INT32", "INT64", "BOOL")]
    return next(iter(numbers or [name for name in found if name]), "")
