"""The ONNX Runtime backends: ``ort-cpu`` and ``ort-cuda``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, OUTPUTS, Bundle
from gmme_edge.bundle.precisions import ONNX_RUNTIME, runs_on
from gmme_edge.errors import BundleError, PlatformError, UsageError, require
from gmme_edge.runtime.session import Outputs, check_batch

if TYPE_CHECKING:
    from gmme_edge.runtime.backends import Request

PROVIDERS = {"ort-cpu": "CPUExecutionProvider", "ort-cuda": "CUDAExecutionProvider"}
_DAMAGED = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile")
_TOO_NEW = ("Unsupported model IR version", "is under development", "No Op registered")


def open_session(request: Request) -> OnnxRuntimeSession:
    """`backends.Opener`'s part."""
    return OnnxRuntimeSession(request.bundle, request.backend, request.precision, request.threads)


def check(backend: str) -> None:
    """Raise unless ONNX Runtime is installed and its build has `backend`'s provider.

    Raises:
        UsageError: no ONNX Runtime backend of this name.
        MissingDependencyError: no onnxruntime.
        PlatformError: this build of onnxruntime lacks the provider.
    """
    _provider(_load(), backend)


class OnnxRuntimeSession:
    """One ONNX file of a bundle on ONNX Runtime; the interface is `session.Session`.

    Args:
        threads: CPU threads of one call; None lets ONNX Runtime take one per physical core.
        profile_prefix: record the time of every node in a file whose path begins so.

    Raises:
        UsageError: `threads` below 1, or the bundle lacks this precision.
        BundleError: the file changed since the export, or is no such graph.
        MissingDependencyError: no onnxruntime.
        PlatformError: this onnxruntime cannot load the graph or has not the provider.
    """

    def __init__(
        self, bundle: Bundle, backend: str, precision: str, threads: int | None = None,
        profile_prefix: Path | None = None,
    ) -> None:  # fmt: skip
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads were asked for.", "at least 1.")
        self.backend, self.precision = backend, precision
        self.n_samples = bundle.manifest.model.n_samples
        ort = _load()
        provider = _provider(ort, backend)
        path = bundle.checked_model(precision)
        self._session: Any = _open(ort, path, provider, threads, precision, profile_prefix)
        self._outputs = _check_graph(self._session, path)

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``.

        Raises:
            UsageError: another shape, or the session is closed.
            PlatformError: the engine failed, for example for want of memory.
        """
        if self._session is None:
            raise UsageError("The session is closed.", "a session that is open.")
        batch = check_batch(waveform, self.n_samples)
        try:
            values = self._session.run(self._outputs, {INPUT: batch})
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise PlatformError(
                f"{self.backend} failed on a batch of {len(batch)}: {error}",
                fix="use a smaller batch if memory ran out.",
            ) from error
        return {
            name: np.asarray(value, dtype=np.float32)
            for name, value in zip(self._outputs, values, strict=True)
        }

    def end_profiling(self) -> Path:
        """The file of the times, a list of Chrome trace events; for sessions that record one."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the session; calling it twice does no harm."""
        self._session = None


def open_graph(
    path: Path, precision: str, threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """An ONNX file that is in no bundle yet, on the CPU: ``(batch, samples)`` → logits."""
    session = _open(_load(), path, PROVIDERS["ort-cpu"], threads, precision, None)

    def run(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run([OUTPUTS[0]], {INPUT: waveform})[0]
        return logits

    return run


def _load() -> ModuleType:
    return require("onnxruntime", "run the ort-cpu and ort-cuda backends")


def _provider(ort: ModuleType, backend: str) -> str:
    if backend not in PROVIDERS:
        raise UsageError(f"Unknown ONNX Runtime backend {backend!r}.", f"one of {list(PROVIDERS)}.")
    provider = PROVIDERS[backend]
    available = ort.get_available_providers()
    if provider not in available:
        raise PlatformError(
            f"onnxruntime {ort.__version__} has no {provider}; it has {', '.join(available)}.",
            f"a build of onnxruntime with {provider}.",
            'pip uninstall onnxruntime, then pip install "gmme-edge[gpu]" '
            "(on a Jetson: the onnxruntime-gpu wheel of NVIDIA's Jetson AI Lab index).",
        )
    return provider


def _open(
    ort: ModuleType, path: Path, provider: str, threads: int | None, precision: str,
    profile_prefix: Path | None,
) -> Any:  # fmt: skip  # noqa: ANN401 - no stubs
    options = ort.SessionOptions()
    if profile_prefix:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_prefix)
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # Idle workers spin by default: at one call per 25 ms that burns 22 ms of CPU per call, 4-5 ms
    # without. An edge device runs other things between calls, so spinning is off.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not runs_on(precision, ONNX_RUNTIME):
        # Made for another engine; here it is only simulated. ONNX Runtime's integer kernels would
        # add products of its full 8-bit weights in 16 bits, and saturate on CPUs without VNNI.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session = ort.InferenceSession(str(path), sess_options=options, providers=[provider])
    except Exception as error:  # onnxruntime's classes share no base but Exception
        raise _load_error(ort, path, error) from error
    if session.get_providers()[0] != provider:
        # onnxruntime only warns and runs on the CPU when CUDA's or cuDNN's libraries are absent.
        raise PlatformError(
            f"onnxruntime {ort.__version__} fell back to {session.get_providers()[0]}.",
            f"{provider}, which needs a GPU and the CUDA and cuDNN versions of this build.",
            "install those libraries, or use --backend ort-cpu.",
        )
    return session


def _load_error(ort: ModuleType, path: Path, error: Exception) -> BundleError | PlatformError:
    got = f"onnxruntime {ort.__version__} cannot load {path}: {error}"
    if type(error).__name__ in _DAMAGED and not any(text in str(error) for text in _TOO_NEW):
        return BundleError(got, "an ONNX graph that `gmme-edge export` wrote.", "export it again.")
    return PlatformError(
        got,
        "an onnxruntime that knows the graph's opset and operators.",
        "pip install --upgrade onnxruntime, or export with a lower --opset.",
    )


def _check_graph(session: Any, path: Path) -> list[str]:  # noqa: ANN401 - no stubs
    """The outputs to ask for, after the graph's names were found to be the bundle's."""
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    if inputs != [INPUT] or OUTPUTS[0] not in outputs:
        raise BundleError(
            f"{path} has inputs {inputs} and outputs {outputs}.",
            f"one input {INPUT!r} and an output {OUTPUTS[0]!r}.",
            "export the bundle again.",
        )
    return [name for name in OUTPUTS if name in outputs]
