"""The `trtexec` command that builds the same engine: to compare, or where there is no Python."""

from __future__ import annotations

from pathlib import Path

from gmme_edge.bundle.bundle import INPUT
from gmme_edge.errors import UsageError
from gmme_exporters.tensorrt.config import EngineOptions, builder_flag

_COMPATIBILITY = {"ampere-plus": "ampere+", "same-compute-capability": "sameComputeCapability"}


def trtexec_command(
    onnx_path: Path,
    engine_path: Path,
    precision: str,
    options: EngineOptions,
    version: str,
    n_samples: int,
) -> list[str]:
    """The arguments, ``trtexec`` first; `shlex.join` makes a line of them.

    Args:
        version: of TensorRT; 8 takes the precision from flags, 10 from the graph when told so,
            11 from the graph always.
        n_samples: the clip's length, the second dimension of the input.

    Raises:
        UsageError: TensorRT-RTX, which has a tool of its own, or bf16 for TensorRT 8.
    """
    if options.flavour != "tensorrt":
        raise UsageError(
            "A trtexec command was asked for a TensorRT-RTX engine.",
            "a TensorRT engine: trtexec comes with TensorRT and builds no other.",
        )
    shapes = {"min": options.min_batch, "opt": options.opt_batch, "max": options.max_batch}
    command = ["trtexec", f"--onnx={onnx_path}", f"--saveEngine={engine_path}"]
    command += _precision_flags(precision, version)
    command += [f"--{name}Shapes={INPUT}:{batch}x{n_samples}" for name, batch in shapes.items()]
    command += ["--profilingVerbosity=detailed", "--skipInference"]
    if options.workspace_mib is not None:
        command.append(f"--memPoolSize=workspace:{options.workspace_mib}")
    if options.optimization_level is not None:
        command.append(f"--builderOptimizationLevel={options.optimization_level}")
    if options.timing_cache is not None:
        command.append(f"--timingCacheFile={options.timing_cache}")
    if options.compatibility != "none":
        command.append(f"--hardwareCompatibilityLevel={_COMPATIBILITY[options.compatibility]}")
    if options.version_compatible:
        command.append("--versionCompatible")
    if options.dla_core is not None:
        command += [f"--useDLACore={options.dla_core}", "--allowGPUFallback"]
    return command


def _precision_flags(precision: str, version: str) -> list[str]:
    major = int(version.partition(".")[0])
    if major >= 10:
        return ["--stronglyTyped"] if major == 10 else []
    if precision == "bf16":
        raise UsageError("TensorRT 8 has no bfloat16.", "fp32, fp16 or int8-tensorrt.")
    flag = builder_flag(precision)
    return [f"--{flag.lower()}"] if flag else []
