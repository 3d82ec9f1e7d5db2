"""What a backend is: a waveform batch in, named outputs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError

if TYPE_CHECKING:
    from gmme_edge.runtime.engines.cache import Rebuild

Outputs = dict[str, NDArray[np.float32]]

BACKENDS = ("ort-cpu", "ort-cuda", "tensorrt", "tensorrt-rtx")


class Session(Protocol):
    """One network on one engine, ready to run; not for use from several threads at once."""

    backend: str
    precision: str

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``."""
        ...

    def close(self) -> None:
        """Free the engine; the session cannot run afterwards."""
        ...


def open_session(
    bundle: Bundle,
    backend: str = "ort-cpu",
    precision: str = "fp32",
    threads: int | None = None,
    rebuild: Rebuild | None = None,
) -> Session:
    """Open one precision of a bundle on a backend.

    Args:
        threads: CPU threads of one call; None lets the engine choose. GPU backends ignore it.
        rebuild: leave to build an engine where TensorRT finds none that fits; ONNX Runtime needs
            none.

    Raises:
        UsageError: no such backend, or the bundle lacks this precision.
        MissingDependencyError: the engine's library is not installed.
        PlatformError: this machine cannot run it.
    """
    if backend not in BACKENDS:
        raise UsageError(f"Unknown backend {backend!r}.", f"one of {', '.join(BACKENDS)}.")
    chosen = resolve_precision(precision, backend)
    if backend.startswith("ort-"):
        from gmme_edge.runtime.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(bundle, backend, chosen, threads)
    from gmme_edge.runtime.engines.session import TensorRTSession

    return TensorRTSession(bundle, backend, chosen, rebuild)


def resolve_precision(precision: str, backend: str) -> str:
    """``int8`` stands for the flavour that `backend` runs with int8 kernels."""
    if precision != "int8":
        return precision
    return "int8-ort" if backend.startswith("ort-") else "int8-tensorrt"


def runnable_precisions(bundle: Bundle, backend: str, may_build: bool = False) -> tuple[str, ...]:
    """The bundle's precisions that are meant for `backend`.

    For TensorRT those with an engine, or all that could be built where `may_build`.
    """
    if backend.startswith("ort-"):
        return tuple(p for p in bundle.precisions if p != "int8-tensorrt")
    if may_build:
        return tuple(p for p in bundle.precisions if p != "int8-ort")
    engines = {
        file.precision
        for file in bundle.manifest.files
        if file.role == "engine" and file.target.rpartition("-")[0] == backend
    }
    return tuple(p for p in bundle.precisions if p in engines)


def check_batch(waveform: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """`waveform` as contiguous float32 ``(batch, n_samples)``.

    Raises:
        UsageError: another shape, or no clip at all.
    """
    if waveform.ndim != 2 or waveform.shape[1] != n_samples or len(waveform) == 0:
        raise UsageError(
            f"The session was given a batch of shape {waveform.shape}.",
            f"(batch, {n_samples}), batch at least 1.",
        )
    return np.ascontiguousarray(waveform, dtype=np.float32)


def why_unavailable(backend: str) -> str | None:
    """Why `backend` cannot run on this machine; None where it can (used by `doctor`)."""
    from gmme_edge.errors import GmmeEdgeError

    try:
        if backend.startswith("ort-"):
            from gmme_edge.runtime.onnxruntime import check_provider

            check_provider(backend)
        else:
            from gmme_edge.runtime.engines.session import check_device

            check_device(backend)
    except GmmeEdgeError as error:
        return str(error)
    return None
