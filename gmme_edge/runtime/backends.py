"""The backends, as one table: what each is called, which engine it is, and who opens it.

A new backend is a module with `open_session`, `check` and `supports`, a row here, and its engine's
name in the rows of `bundle/precisions.py` that it runs. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from gmme_edge.bundle.precisions import (
    ONNX_RUNTIME,
    OPENVINO,
    OPENVINO_GPU,
    TENSORRT,
    graph_of,
    precisions_of,
    resolve_family,
    runs_on,
)
from gmme_edge.errors import GmmeEdgeError, UsageError

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.runtime.engines.cache import Rebuild
    from gmme_edge.runtime.session import Session


class Opener(Protocol):
    """What the module of a backend holds."""

    def open_session(self, request: Request) -> Session:
        """Open what is asked for; raises as `backends.open_session` does."""
        ...

    def check(self, backend: str) -> None:
        """Raise a `GmmeEdgeError` where the backend cannot run on this machine."""
        ...

    def supports(self, backend: str, precision: str) -> bool:
        """Whether this machine has the arithmetic of one of the engine's precisions."""
        ...


@dataclass(frozen=True)
class Request:
    """What a backend is to open: one precision of a bundle, by its own name."""

    bundle: Bundle
    backend: str
    precision: str
    threads: int | None = None
    rebuild: Rebuild | None = None
    cuda_graph: bool = False


COPIED, RESIDENT, GRAPH, RESIDENT_GRAPH = "copied", "resident", "graph", "resident-graph"
GPU_CALLS = (COPIED, RESIDENT, GRAPH, RESIDENT_GRAPH)
"""How a GPU is called: with copies from and to the host or without, launched as a CUDA graph."""


@dataclass(frozen=True)
class Backend:
    """One row.

    Attributes:
        engine: whose kernels it uses; `Precision.engines` says which precisions those run.
        module: holds the `Opener`.
        needs_engine_file: it runs engines that were built for this machine, not ONNX files.
        on_cpu: it computes on a CPU, and calls take a number of threads.
        concurrent: one session serves several threads at once.
        gpu_calls: which of `GPU_CALLS` it can do; those without copies by `session.GpuSession`.
    """

    name: str
    engine: str
    module: str
    needs_engine_file: bool = False
    on_cpu: bool = False
    concurrent: bool = False
    gpu_calls: tuple[str, ...] = (COPIED,)

    @property
    def opener(self) -> Opener:
        return cast(Opener, importlib.import_module(self.module))


_ORT, _ENGINES = "gmme_edge.runtime.onnxruntime", "gmme_edge.runtime.engines.session"
_OPENVINO = "gmme_edge.runtime.openvino"
_ROWS = (
    Backend("ort-cpu", ONNX_RUNTIME, _ORT, on_cpu=True, concurrent=True),
    Backend("ort-cuda", ONNX_RUNTIME, _ORT, concurrent=True, gpu_calls=GPU_CALLS),
    Backend("openvino", OPENVINO, _OPENVINO, on_cpu=True),
    Backend("openvino-gpu", OPENVINO_GPU, _OPENVINO),
    Backend("tensorrt", TENSORRT, _ENGINES, needs_engine_file=True, gpu_calls=GPU_CALLS),
    Backend(
        "tensorrt-rtx", TENSORRT, _ENGINES, needs_engine_file=True, gpu_calls=(COPIED, RESIDENT)
    ),
)
BACKENDS = {row.name: row for row in _ROWS}
BACKEND_NAMES = ", ".join(BACKENDS)
AUTO = "auto"  # for `gmme_edge.load`: the fastest of them, see `choosing`


def find_backend(name: str) -> Backend:
    """The row of a backend; raises `UsageError` naming all of them."""
    if name not in BACKENDS:
        raise UsageError(
            f"Unknown backend {name!r}.",
            f"one of {BACKEND_NAMES}; {AUTO} only where a network is run, not measured.",
        )
    return BACKENDS[name]


def open_session(
    bundle: Bundle,
    backend: str = "ort-cpu",
    precision: str = "fp32",
    threads: int | None = None,
    rebuild: Rebuild | None = None,
    cuda_graph: bool = False,
) -> Session:
    """Open one precision of a bundle on a backend.

    Args:
        threads: CPU threads of one call; None lets the engine choose. GPU backends ignore it.
        rebuild: permission to build an engine where TensorRT finds none that fits; ONNX Runtime
            needs none.
        cuda_graph: launch the network as one CUDA graph; all calls then have one batch size.

    Raises:
        UsageError: no such backend, it has no CUDA graphs, or the bundle lacks this precision.
        MissingDependencyError: the engine's library is not installed.
        PlatformError: this machine cannot run it.
    """
    row = find_backend(backend)
    if cuda_graph and GRAPH not in row.gpu_calls:
        having = ", ".join(each.name for each in _ROWS if GRAPH in each.gpu_calls)
        raise UsageError(f"CUDA graphs on {backend}.", f"one of {having}.")
    chosen = resolve_precision(precision, backend)
    request = Request(bundle, backend, chosen, threads, rebuild, cuda_graph)
    return row.opener.open_session(request)


def resolve_precision(precision: str, backend: str) -> str:
    """``int8`` stands for the precision of that family that `backend` runs with int8 kernels.

    Raises:
        UsageError: an arithmetic that the backend has not, such as ``bf16`` on ``ort-cpu``.
    """
    engine = find_backend(backend).engine
    if graph_of(precision) != precision and not runs_on(precision, engine):
        raise UsageError(
            f"{precision} on {backend}.", f"one of {', '.join(precisions_of(engine))}."
        )
    return resolve_family(precision, engine)


def runnable_precisions(bundle: Bundle, backend: str, may_build: bool = False) -> tuple[str, ...]:
    """The bundle's precisions that are meant for `backend` and that this machine can compute.

    For TensorRT those with an engine, or all that could be built where `may_build`.
    """
    row = find_backend(backend)
    stored = bundle.precisions
    others = (n for n in precisions_of(row.engine) if graph_of(n) != n and graph_of(n) in stored)
    fitting = tuple(
        name
        for name in (*stored, *others)
        if runs_on(name, row.engine) and row.opener.supports(backend, name)
    )
    if may_build or not row.needs_engine_file:
        return fitting
    built = {
        file.precision
        for file in bundle.manifest.files
        if file.role == "engine" and file.target.rpartition("-")[0] == backend
    }
    return tuple(name for name in fitting if name in built)


def why_unavailable(backend: str) -> str | None:
    """Why `backend` cannot run on this machine; None where it can (used by `doctor`)."""
    try:
        find_backend(backend).opener.check(backend)
    except GmmeEdgeError as error:
        return str(error)
    return None
