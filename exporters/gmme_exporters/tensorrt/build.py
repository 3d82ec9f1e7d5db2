"""ONNX file → TensorRT engine with its sidecar, for TensorRT 8.6, 10, 11 and TensorRT-RTX 1.

Needs neither torch nor onnx, so that a Jetson can build for itself.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from types import ModuleType

from gmme_edge.bundle.precisions import PRECISIONS, TENSORRT, precisions_of
from gmme_edge.device.boards import jetpack_version
from gmme_edge.device.cuda import driver_version, open_cudart
from gmme_edge.errors import EngineError, PlatformError, UsageError
from gmme_edge.files import replacing, sha256_of
from gmme_edge.runtime.engines.info import EngineInfo, format_sm
from gmme_edge.runtime.engines.library import (
    FLAVOURS,
    captured_log,
    check_sm,
    create_object,
    load_library,
)
from gmme_exporters.tensorrt.config import EngineOptions, check_precision_offered, configure
from gmme_exporters.tensorrt.network import create_network, parse_network
from gmme_exporters.tensorrt.timing import attach_timing_cache, save_timing_cache
from gmme_exporters.tensorrt.worker import Progress, build_serialized

__all__ = ["FLAVOURS", "EngineInfo", "EngineOptions", "build_engine"]

_NO_GPU_FIXES = {
    "tensorrt-rtx": "name the GPU that the engine is for, as in --sm 89; it is built without one.",
    "tensorrt": "build on the machine that has the GPU; or export --plan jetson and build there.",
}
_BUILD_FIXES = (
    ("workspace", "allow more memory with workspace_mib, or leave the limit out."),
    ("FP32 GEMM is not supported", "use --precision fp16 for this GPU."),
    ("memory", "free GPU memory, or build for a smaller largest batch."),
)


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    precision: str,
    options: EngineOptions,
    on_progress: Progress | None = None,
) -> EngineInfo:
    """Build `engine_path` and its sidecar ``….json`` from a graph of this project.

    The precision is the graph's own: fp16 and bf16 (`tensorrt_bf16`) are typed graphs,
    int8-tensorrt is one with Q/DQ nodes. Only weakly typed TensorRT 8 must be told as well. fp32
    may use TF32, TensorRT's default.

    Args:
        on_progress: called with (phase, steps done, steps in all) from the builder's threads;
            raising `KeyboardInterrupt` in it cancels the build.

    Raises:
        UsageError: a precision that TensorRT cannot build.
        InputError: `onnx_path` is missing or no graph of this project, or the timing cache is
            damaged or of another version or GPU.
        MissingDependencyError: the library is not installed.
        PlatformError: no GPU where one is needed, a GPU that the library does not serve, or an
            operation or option that it does not support.
        EngineError: the build failed.
    """
    _check_precision(precision)
    library = load_library(options.flavour, f"build a {options.flavour} engine")
    sm, gpu_name = _resolve_gpu(library, options)
    check_precision_offered(library, precision, sm)
    started = time.perf_counter()
    plan, n_layers = _build(library, onnx_path, precision, options, sm, on_progress)
    info = EngineInfo(
        onnx_sha256=sha256_of(onnx_path),
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        size_bytes=len(plan),
        flavour=options.flavour,
        version=library.__version__,
        compute_capability=format_sm(sm),
        gpu_name=gpu_name,
        driver=driver_version() if gpu_name else "",
        jetpack=jetpack_version() if gpu_name else "",
        precision=precision,
        min_batch=options.min_batch,
        opt_batch=options.opt_batch,
        max_batch=options.max_batch,
        n_layers=n_layers,
        build_s=time.perf_counter() - started,
    )
    # Should the process end between the two files, the hash in the old sidecar gives it away.
    with replacing(engine_path) as temporary:
        temporary.write_bytes(plan)
    info.write(engine_path)
    return info


def _check_precision(precision: str) -> None:
    known = (*precisions_of(TENSORRT), "bf16")  # whose graph is made of fp16's
    if precision in PRECISIONS and precision not in known:
        raise UsageError(
            f"The {precision} graph cannot become a TensorRT engine: its Q/DQ nodes are "
            "asymmetric.",
            "the int8-tensorrt graph.",
            "export with --precision int8 for TensorRT, and build from that graph.",
        )
    if precision not in known:
        raise UsageError(f"Unknown precision {precision!r}.", f"one of {', '.join(known)}.")


def _resolve_gpu(library: ModuleType, options: EngineOptions) -> tuple[int, str]:
    """The compute capability to build for and, where the build needs it, the GPU's name.

    Raises:
        PlatformError: no GPU here and none named, or one that the library does not serve.
    """
    sm, gpu_name = options.sm, ""
    if sm is None:
        try:
            device = open_cudart().device()
        except PlatformError as error:
            fix = _NO_GPU_FIXES[options.flavour]
            raise PlatformError(error.got, error.expected, fix) from error
        sm, gpu_name = device.sm, device.name
    if options.flavour == "tensorrt-rtx":
        check_sm(library, sm)
    return sm, gpu_name


def _build(
    library: ModuleType,
    onnx_path: Path,
    precision: str,
    options: EngineOptions,
    sm: int,
    on_progress: Progress | None,
) -> tuple[bytes, int]:
    """The serialized engine and the network's number of layers.

    The layers are those before fusion: to inspect the engine it must be loaded, on its GPU.
    """
    with captured_log(library) as log:
        builder = create_object(library, library.Builder, log)
        network = create_network(library, builder)
        n_samples = parse_network(library, network, onnx_path, log)
        config = configure(library, builder, precision, options, sm, n_samples)
        if options.timing_cache is not None:
            attach_timing_cache(library, config, Path(options.timing_cache), sm)
        plan = build_serialized(library, builder, network, config, on_progress)
        if plan is None:
            reason = log.reason()
            raise EngineError(
                f"{options.flavour} {library.__version__} cannot build {onnx_path.name} for "
                f"SM{sm}: {reason}",
                fix=next((fix for text, fix in _BUILD_FIXES if text in reason), ""),
            )
        if options.timing_cache is not None:
            save_timing_cache(library, config, Path(options.timing_cache), sm)
        return plan, int(network.num_layers)
