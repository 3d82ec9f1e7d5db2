"""Makes ``tensorrt_api.json``: which names each version's Python bindings offer.

    python -m tests.exporters.tensorrt_api FOLDER

FOLDER holds one unpacked wheel of the bindings per version (`COLUMNS`), for this Python:
``pip download --no-deps --python-version 311 tensorrt-cu12-bindings==10.3.0``, then ``unzip``. The
bindings are the real ones. The libraries that they link (gigabytes, and a GPU) are replaced by
empty ones made with gcc: importing the bindings only registers classes, and calls none of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TABLE = Path(__file__).with_suffix(".json")
COLUMNS = {
    "8.6": "tensorrt-bindings 8.6.1",
    "10.3": "tensorrt-cu12-bindings 10.3.0",
    "10.13": "tensorrt-cu12-bindings 10.13.3.9",
    "10.16": "tensorrt-cu12-bindings 10.16.1.11",
    "11.4": "tensorrt-cu12-bindings 11.4.0.106",
    "rtx": "tensorrt-rtx 1.7.1.116, as installed",
}
_LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvparsers", "libnvinfer_plugin")
_SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry", "getNvOnnxParserVersion", "getPluginRegistry",
    "initLibNvInferPlugins", "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)  # fmt: skip
# What builds, runs or inspects an engine; the rest (layers, plugins, old parsers) is left out.
_CLASSES = (
    "Builder", "BuilderFlag", "ComputeCapability", "DataType", "DeviceType", "EngineCapability",
    "EngineInspector", "ErrorCode", "HardwareCompatibilityLevel", "IBuilderConfig", "ICudaEngine",
    "IExecutionContext", "IHostMemory", "ILogger", "INetworkDefinition", "IOptimizationProfile",
    "IProfiler", "IProgressMonitor", "IRuntimeConfig", "IRuntimeCache", "ITensor", "ITimingCache",
    "LayerInformationFormat", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser",
    "OnnxParserFlag", "ParserError", "ProfilingVerbosity", "Runtime", "TensorIOMode",
    "TensorLocation", "ExecutionContextAllocationStrategy", "EngineValidity",
    "EngineInvalidityDiagnostics", "CudaGraphStrategy",
    "DynamicShapesKernelSpecializationStrategy",
)  # fmt: skip
_LIST = """
import json, sys, types, warnings
warnings.simplefilter("ignore")
library = __import__(sys.argv[1])
found = {name for name in dir(library) if not isinstance(getattr(library, name), types.ModuleType)}
for name in sys.argv[2:]:
    found |= {f"{name}.{member}" for member in dir(getattr(library, name, None) or object)}
print(json.dumps(sorted(n for n in found if "__" not in n and n.split(".")[-1][0] != "_")))
"""


def names_of(module: str, environment: dict[str, str]) -> set[str]:
    """Top-level names, and those of the classes above as ``Class.member``."""
    ran = subprocess.run(
        [sys.executable, "-c", _LIST, module, *_CLASSES],
        env={**os.environ, **environment}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(json.loads(ran.stdout))


def write_stubs(folder: Path) -> None:
    """Empty libraries under the names that the bindings link."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in _SYMBOLS))
    for major in (8, 10, 11):
        for name in _LIBRARIES:
            target = f"{name}.so.{major}"
            subprocess.run(
                ["gcc", "-shared", "-fPIC", "-o", folder / target, f"-Wl,-soname,{target}", source],
                check=True,
            )


def main(wheels: Path) -> None:
    with tempfile.TemporaryDirectory() as stubs:
        write_stubs(Path(stubs))
        found = {"rtx": names_of("tensorrt_rtx", {})}
        for column, wheel in COLUMNS.items():
            if column != "rtx":
                unpacked = str(wheels / wheel.split()[-1])
                environment = {"LD_LIBRARY_PATH": stubs, "PYTHONPATH": unpacked}
                found[column] = names_of("tensorrt_bindings", environment)
    rows = {
        name: "".join("1" if name in found[column] else "0" for column in COLUMNS)
        for name in sorted(set().union(*found.values()))
    }
    made = "names of the imported bindings from PyPI: python -m tests.exporters.tensorrt_api"
    table = {"made": made, "columns": COLUMNS, "names": rows}
    TABLE.write_text(json.dumps(table, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
