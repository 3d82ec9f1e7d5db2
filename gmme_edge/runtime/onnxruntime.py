"""The ONNX Runtime backends: ``ort-cpu`` and ``ort-cuda``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, OUTPUTS, Bundle
from gmme_edge.device.cpu import check_threads
from gmme_edge.errors import PlatformError, UsageError, require
from gmme_edge.installation import install_command, pip_command
from gmme_edge.runtime.fork import ForkGuard
from gmme_edge.runtime.ort_binding import Binding
from gmme_edge.runtime.ort_loading import (
    InferenceSession,
    create_session,
    load_checked,
    make_options,
    worth_spinning,
)
from gmme_edge.runtime.session import (
    Outputs,
    check_batch,
    check_graph,
    check_graph_batch,
    check_outputs,
)

if TYPE_CHECKING:
    from gmme_edge.runtime.backends import Request

PROVIDERS = {"ort-cpu": "CPUExecutionProvider", "ort-cuda": "CUDAExecutionProvider"}
_DEVICES = {"ort-cpu": "cpu", "ort-cuda": "cuda"}
_PURPOSE = "run the ort-cpu and ort-cuda backends"


def open_session(request: Request) -> OnnxRuntimeSession:
    """`backends.Opener`'s part."""
    return OnnxRuntimeSession(
        request.bundle,
        request.backend,
        request.precision,
        request.threads,
        cuda_graph=request.cuda_graph,
    )


def check(backend: str) -> None:
    """Raise unless ONNX Runtime is installed and its build has `backend`'s provider.

    Raises:
        UsageError: no ONNX Runtime backend of this name.
        MissingDependencyError: no onnxruntime.
        PlatformError: this build of onnxruntime lacks the provider.
    """
    _provider(require("onnxruntime", _PURPOSE), backend)


def supports(backend: str, precision: str) -> bool:
    """`backends.Opener`'s part: what a CPU lacks is computed in other steps."""
    return True


class OnnxRuntimeSession:
    """One ONNX file of a bundle on ONNX Runtime; the interface is `session.Session`.

    Args:
        threads: CPU threads of one call; None lets ONNX Runtime take one per physical core.
        profile_prefix: record the time of every node in a file whose path begins so.
        cuda_graph: launch the network as one CUDA graph, for one batch size.

    Raises:
        UsageError: `threads` below 1, or the bundle lacks this precision.
        BundleError: the file changed since the export, or is no such graph.
        MissingDependencyError: no onnxruntime.
        PlatformError: this onnxruntime cannot load the graph or has not the provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        precision: str,
        threads: int | None = None,
        profile_prefix: Path | None = None,
        cuda_graph: bool = False,
    ) -> None:
        check_threads(threads)
        self.backend, self.precision = backend, precision
        spec = bundle.manifest.model
        self._spec, self.n_samples = spec, spec.n_samples
        ort = require("onnxruntime", _PURPOSE)
        provider = _provider(ort, backend)
        options = make_options(ort, precision, threads, profile_prefix, worth_spinning(spec))
        graph, weights = bundle.checked_model(precision)
        name = f"{bundle.path}'s {precision} graph"
        facts = {"enable_cuda_graph": "1"} if cuda_graph else {}
        session = load_checked(ort, graph, weights, options, (provider, facts), name)
        self._outputs = check_graph(session.get_inputs(), session.get_outputs(), spec, name)
        self._session: InferenceSession | None = session
        self._guard = ForkGuard(session)
        self._ort, self._is_graph = ort, cuda_graph
        self._binding: Binding | None = None

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``.

        Raises:
            UsageError: another shape, or the session is closed.
            PlatformError: the engine failed, for example for want of memory.
        """
        self._guard.check()
        batch = check_batch(waveform, self.n_samples)
        if self._is_graph:
            binding = self._bind(batch)
            binding()
            return binding.fetch()
        assert self._session is not None
        try:
            values = self._session.run(self._outputs, {INPUT: batch})
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise PlatformError(
                f"{self.backend} failed on a batch of {len(batch)}: {error}",
                fix="use a smaller batch if memory ran out.",
            ) from error
        found = zip(self._outputs, values)  # noqa: B905 - as many as were asked for
        outputs = {name: np.asarray(value, dtype=np.float32) for name, value in found}
        return check_outputs(outputs, len(batch), self._spec, f"{self.precision} on {self.backend}")

    def resident(self, waveform: NDArray[np.float32]) -> Binding:
        """`session.GpuSession`'s part.

        Raises:
            UsageError: as `run`.
            PlatformError: the GPU's memory does not suffice.
        """
        self._guard.check()
        return self._bind(check_batch(waveform, self.n_samples))

    def _bind(self, batch: NDArray[np.float32]) -> Binding:
        """The batch on the device; with a CUDA graph always at the same place."""
        if self._is_graph and self._binding:
            check_graph_batch(len(batch), self._binding.n_clips)
            self._binding.load(batch)
            return self._binding
        widths = {OUTPUTS[0]: self._spec.n_classes, OUTPUTS[1]: self._spec.backbone.embed_dim}
        try:
            self._binding = Binding(
                self._ort,
                self._session,
                _DEVICES[self.backend],
                batch,
                {name: widths[name] for name in self._outputs},
                self._spec,
            )
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise PlatformError(
                f"{self.backend} cannot place a batch of {len(batch)}: {error}",
                fix="use a smaller batch if memory ran out.",
            ) from error
        self._guard.add(self._binding)
        return self._binding

    def end_profiling(self) -> Path:
        """The file of the times, a list of Chrome trace events; for sessions that record one."""
        assert self._session is not None
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the session; calling it twice does no harm."""
        self._session = self._binding = None
        self._guard.release()


def open_graph(
    path: Path, precision: str, threads: int | None = None, spins: bool = False
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """An ONNX file that is in no bundle yet, on the CPU: ``(batch, samples)`` → logits."""
    ort = require("onnxruntime", _PURPOSE)
    options = make_options(ort, precision, threads, None, spins)
    session = create_session(ort, str(path), options, (PROVIDERS["ort-cpu"], {}), str(path))

    def run(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        return session.run([OUTPUTS[0]], {INPUT: waveform})[0]

    return run


def _provider(ort: ModuleType, backend: str) -> str:
    if backend not in PROVIDERS:
        raise UsageError(f"Unknown ONNX Runtime backend {backend!r}.", f"one of {list(PROVIDERS)}.")
    provider = PROVIDERS[backend]
    available = ort.get_available_providers()
    if provider not in available:
        raise PlatformError(
            f"onnxruntime {ort.__version__} has no {provider}; it has {', '.join(available)}.",
            f"a build of onnxruntime with {provider}.",
            f"{pip_command('uninstall', 'onnxruntime')}, then {install_command('gpu')} "
            "(on a Jetson: the onnxruntime-gpu wheel of NVIDIA's Jetson AI Lab index).",
        )
    return provider
