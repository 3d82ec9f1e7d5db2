"""The ONNX Runtime backends: ``ort-cpu`` and ``ort-cuda``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, OUTPUTS, Bundle
from gmme_edge.bundle.precisions import ONNX_RUNTIME, runs_on
from gmme_edge.device.cpu import check_threads, default_threads
from gmme_edge.errors import BundleError, PlatformError, UsageError, require
from gmme_edge.installation import install_command, pip_command
from gmme_edge.runtime.fork import ForkGuard
from gmme_edge.runtime.session import Outputs, TensorFacts, check_batch, check_graph, check_outputs

if TYPE_CHECKING:
    from gmme_edge.runtime.backends import Request

PROVIDERS = {"ort-cpu": "CPUExecutionProvider", "ort-cuda": "CUDAExecutionProvider"}
_PURPOSE = "run the ort-cpu and ort-cuda backends"
_DAMAGED = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile")
_NO_THREADS = ("pthread_create", "Resource temporarily unavailable", "thread constructor failed")
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
_UNLISTED = ("not found from the table", "External data path", "external data")
_TOO_NEW = ("Unsupported model IR version", "is under development", "No Op registered")


class _InferenceSession(Protocol):
    """What is used of onnxruntime's class; it has no stubs."""

    def get_inputs(self) -> Sequence[TensorFacts]: ...

    def get_outputs(self) -> Sequence[TensorFacts]: ...

    def get_providers(self) -> list[str]: ...

    def run(
        self, outputs: list[str], inputs: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]: ...

    def end_profiling(self) -> str: ...


class _SessionOptions(Protocol):
    enable_profiling: bool
    profile_file_prefix: str
    intra_op_num_threads: int
    inter_op_num_threads: int
    log_severity_level: int

    def add_session_config_entry(self, name: str, value: str) -> None: ...

    def add_external_initializers_from_files_in_memory(
        self, names: list[str], contents: list[bytes], sizes: list[int]
    ) -> None:
        """From ONNX Runtime 1.18 on or later: ask whether it is there."""


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
    _provider(require("onnxruntime", _PURPOSE), backend)


def supports(backend: str, precision: str) -> bool:
    """`backends.Opener`'s part: what a CPU lacks is computed in other steps."""
    return True


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
        self,
        bundle: Bundle,
        backend: str,
        precision: str,
        threads: int | None = None,
        profile_prefix: Path | None = None,
    ) -> None:
        check_threads(threads)
        self.backend, self.precision = backend, precision
        spec = bundle.manifest.model
        self._spec, self.n_samples = spec, spec.n_samples
        ort = require("onnxruntime", _PURPOSE)
        provider = _provider(ort, backend)
        options = _options(ort, precision, threads, profile_prefix)
        graph, weights = bundle.checked_model(precision)
        name = f"{bundle.path}'s {precision} graph"
        session = _open(ort, graph, weights, options, provider, name)
        self._outputs = check_graph(session.get_inputs(), session.get_outputs(), spec, name)
        self._session: _InferenceSession | None = session
        self._guard = ForkGuard(session)

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``.

        Raises:
            UsageError: another shape, or the session is closed.
            PlatformError: the engine failed, for example for want of memory.
        """
        self._guard.check()
        batch = check_batch(waveform, self.n_samples)
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

    def end_profiling(self) -> Path:
        """The file of the times, a list of Chrome trace events; for sessions that record one."""
        assert self._session is not None
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the session; calling it twice does no harm."""
        self._session = None
        self._guard.release()


def open_graph(
    path: Path, precision: str, threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """An ONNX file that is in no bundle yet, on the CPU: ``(batch, samples)`` → logits."""
    ort = require("onnxruntime", _PURPOSE)
    options = _options(ort, precision, threads, None)
    session = _create(ort, str(path), options, PROVIDERS["ort-cpu"], str(path))

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


def _options(
    ort: ModuleType, precision: str, threads: int | None, profile_prefix: Path | None
) -> _SessionOptions:
    options: _SessionOptions = ort.SessionOptions()
    if profile_prefix:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_prefix)
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    # Idle workers spin by default: at one call per 25 ms that burns 22 ms of CPU per call, 4-5 ms
    # without. An edge device runs other things between calls, so spinning is off.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not runs_on(precision, ONNX_RUNTIME):
        # Made for another engine; here it is only simulated. ONNX Runtime's integer kernels would
        # add products of its full 8-bit weights in 16 bits, and saturate on CPUs without VNNI.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _open(
    ort: ModuleType,
    graph: bytes,
    weights: dict[str, bytes],
    options: _SessionOptions,
    provider: str,
    name: str,
) -> _InferenceSession:
    """A session of bytes that were checked; it opens no file, whatever the graph says."""
    if hasattr(options, "add_external_initializers_from_files_in_memory"):
        # Where a table is given, ONNX Runtime reads nothing else: so it is never empty.
        table = weights or {"none": b"\0"}
        sizes = [len(content) for content in table.values()]
        options.add_external_initializers_from_files_in_memory(
            list(table), list(table.values()), sizes
        )
        return _create(ort, graph, options, provider, name)
    # An older version: a folder of our own, which holds nothing but what was checked.
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        for path, content in {**weights, "graph.onnx": graph}.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        return _create(ort, str(Path(folder) / "graph.onnx"), options, provider, name)


def _create(
    ort: ModuleType,
    graph: str | bytes,
    options: _SessionOptions,
    provider: str,
    name: str,
) -> _InferenceSession:
    try:
        session: _InferenceSession = ort.InferenceSession(
            graph, sess_options=options, providers=[provider]
        )
    except Exception as error:  # onnxruntime's classes share no base but Exception
        raise _load_error(ort, name, error) from error
    if session.get_providers()[0] != provider:
        # onnxruntime only warns and runs on the CPU when CUDA's or cuDNN's libraries are absent.
        raise PlatformError(
            f"onnxruntime {ort.__version__} fell back to {session.get_providers()[0]}.",
            f"{provider}, which needs a GPU and the CUDA and cuDNN versions of this build.",
            "install those libraries, or use --backend ort-cpu.",
        )
    return session


def _load_error(ort: ModuleType, name: str, error: Exception) -> BundleError | PlatformError:
    got = f"onnxruntime {ort.__version__} cannot load {name}: {error}"
    if any(text in str(error) for text in _NO_THREADS):
        return PlatformError(
            got,
            "a machine that lets this process start its threads.",
            "ask for fewer (--threads 1), or raise the limit on processes (ulimit -u, pids.max).",
        )
    if any(text in str(error) for text in _NO_MEMORY):
        return PlatformError(got, "enough memory for the network.", "free memory.")
    damaged = type(error).__name__ in _DAMAGED or any(text in str(error) for text in _UNLISTED)
    if damaged and not any(text in str(error) for text in _TOO_NEW):
        return BundleError(got, "an ONNX graph that `gmme-edge export` wrote.", "export it again.")
    return PlatformError(
        got,
        "an onnxruntime that knows the graph's opset and operators.",
        f"{pip_command('install', '--upgrade', 'onnxruntime')}, or export with a lower --opset.",
    )
