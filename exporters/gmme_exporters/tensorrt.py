"""ONNX file → TensorRT engine with its sidecar, for TensorRT 8.6, 10, 11 and TensorRT-RTX 1.

Needs neither torch nor onnx, so that a Jetson can build for itself.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gmme_edge.errors import EngineError, UsageError
from gmme_edge.files import replacing, sha256_of
from gmme_edge.runtime.bundle import INPUT, PRECISIONS
from gmme_edge.runtime.cudart import driver_version, jetpack_version, open_cudart
from gmme_edge.runtime.engines import EngineInfo, format_sm
from gmme_edge.runtime.tensorrt_library import (
    FLAVOURS,
    captured_log,
    check_sm,
    load_library,
    shared_logger,
)
from gmme_exporters.tensorrt_building import Progress, build_serialized
from gmme_exporters.tensorrt_parsing import create_network, parse_network

__all__ = ["FLAVOURS", "EngineInfo", "EngineOptions", "build_engine"]

_BUILD_FIXES = (
    ("workspace", "allow more memory with workspace_mib, or leave the limit out."),
    ("FP32 GEMM is not supported", "use --precision fp16 for this GPU."),
    ("memory", "free GPU memory, or build for a smaller largest batch."),
)


@dataclass(frozen=True)
class EngineOptions:
    """How to build an engine.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        sm: TensorRT-RTX only: the compute capability to build for, 89 for 8.9, on any machine;
            None builds for this machine's GPU.
        min_batch: smallest batch; kernels are chosen for `opt_batch`.
        max_batch: largest batch; GPU memory grows with it.
        workspace_mib: limit of the scratch memory in MiB; None leaves the library's own.
    """

    flavour: str = "tensorrt-rtx"
    sm: int | None = None
    min_batch: int = 1
    opt_batch: int = 1
    max_batch: int = 8
    workspace_mib: int | None = None

    def __post_init__(self) -> None:
        if self.flavour not in FLAVOURS:
            raise UsageError(
                f"Unknown engine flavour {self.flavour!r}.", f"one of {', '.join(FLAVOURS)}."
            )
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise UsageError(
                f"Batches {self.min_batch}, {self.opt_batch}, {self.max_batch} (smallest, "
                "optimal, largest) are out of order.",
                "1 <= smallest <= optimal <= largest.",
            )
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"A workspace of {self.workspace_mib} MiB.", "at least 1 MiB.")
        if self.flavour == "tensorrt" and self.sm is not None:
            raise UsageError(
                f"TensorRT was asked to build for SM{self.sm}.",
                "no sm: TensorRT builds for the GPU of the machine that it runs on.",
                "leave sm out, or use tensorrt-rtx, which builds ahead of time.",
            )


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    precision: str,
    options: EngineOptions,
    on_progress: Progress | None = None,
) -> EngineInfo:
    """Build `engine_path` and its sidecar ``….json`` from a graph of this project.

    The precision is the graph's own: fp16 is a typed graph, int8-tensorrt one with Q/DQ nodes.
    Only weakly typed TensorRT 8 must be told as well. fp32 may use TF32, TensorRT's default.

    Args:
        on_progress: called with (phase, steps done, steps in all) from the builder's threads;
            raising `KeyboardInterrupt` in it cancels the build.

    Raises:
        UsageError: a precision that TensorRT cannot build.
        InputError: `onnx_path` is missing or no graph of this project.
        MissingDependencyError: the library is not installed.
        PlatformError: no GPU where one is needed, a GPU that the library does not serve, or an
            operation that it does not support.
        EngineError: the build failed.
    """
    _check_precision(precision)
    library = load_library(options.flavour, f"build a {options.flavour} engine")
    sm, gpu_name = _resolve_target(library, options)
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
    if precision == "int8-ort":
        raise UsageError(
            "The int8-ort graph cannot become a TensorRT engine: its Q/DQ nodes are asymmetric.",
            "the int8-tensorrt graph.",
            "export with --precision int8 for TensorRT, and build from that graph.",
        )
    if precision not in PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}.", f"one of {', '.join(PRECISIONS)}.")


def _resolve_target(library: ModuleType, options: EngineOptions) -> tuple[int, str]:
    """The compute capability to build for and, where the build needs it, the GPU's name."""
    sm, gpu_name = options.sm, ""
    if sm is None:
        device = open_cudart().device()
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
        builder = library.Builder(shared_logger(library))
        if builder is None:
            raise EngineError(f"{options.flavour} cannot start: {log.reason()}")
        network = create_network(library, builder)
        n_samples = parse_network(library, network, onnx_path, log)
        config = _configure(library, builder, precision, options, sm, n_samples)
        plan = build_serialized(library, builder, network, config, on_progress)
        if plan is None:
            reason = log.reason()
            raise EngineError(
                f"{options.flavour} {library.__version__} cannot build {onnx_path.name} for "
                f"SM{sm}: {reason}",
                fix=next((fix for text, fix in _BUILD_FIXES if text in reason), ""),
            )
        return plan, int(network.num_layers)


def _configure(
    library: ModuleType,
    builder: Any,  # noqa: ANN401 - no stubs
    precision: str,
    options: EngineOptions,
    sm: int,
    n_samples: int,
) -> Any:  # noqa: ANN401 - no stubs
    config = builder.create_builder_config()
    if options.workspace_mib is not None:
        pool = library.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, options.workspace_mib << 20)
    if options.flavour == "tensorrt-rtx":
        # Without a target TensorRT-RTX builds a portable engine for several generations at once.
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, f"SM{sm}"), 0)
    _set_weak_precision(library, config, precision)
    profile = builder.create_optimization_profile()
    batches = (options.min_batch, options.opt_batch, options.max_batch)
    profile.set_shape(INPUT, *((batch, n_samples) for batch in batches))
    config.add_optimization_profile(profile)
    return config


def _set_weak_precision(library: ModuleType, config: Any, precision: str) -> None:  # noqa: ANN401
    """Allow fp16 or int8 kernels where the network is weakly typed (TensorRT 8).

    int8 comes without FP16, so that the layers outside Q/DQ stay in fp32 as on later versions.
    """
    strong = hasattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    name = {"fp16": "FP16", "int8-tensorrt": "INT8"}.get(precision)
    if name and not strong and hasattr(library.BuilderFlag, name):
        config.set_flag(getattr(library.BuilderFlag, name))
