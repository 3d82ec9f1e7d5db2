"""How ONNX Runtime loads a graph: its options, bytes instead of files, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Dict, Protocol, Tuple  # noqa: UP035

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.precisions import ONNX_RUNTIME, runs_on
from gmme_edge.device.cpu import default_threads
from gmme_edge.errors import BundleError, PlatformError
from gmme_edge.installation import pip_command
from gmme_edge.runtime.session import TensorFacts
from gmme_edge.spec import ModelSpec

_DAMAGED = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoModel", "NoSuchFile")
_NO_THREADS = ("pthread_create", "Resource temporarily unavailable", "thread constructor failed")
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
_UNLISTED = ("not found from the table", "External data path", "external data")
_TOO_NEW = ("Unsupported model IR version", "is under development", "No Op registered")
_NO_CUDA_GRAPH = ("CUDA Graph", "graph capture")


class ModelFacts(Protocol):
    custom_metadata_map: Dict[str, str]  # noqa: UP006 - as below


class InferenceSession(Protocol):
    """What is used of onnxruntime's class; it has no stubs."""

    def get_inputs(self) -> Sequence[TensorFacts]: ...

    def get_outputs(self) -> Sequence[TensorFacts]: ...

    def get_providers(self) -> list[str]: ...

    def get_modelmeta(self) -> ModelFacts: ...

    def run(
        self, outputs: list[str], inputs: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]: ...

    def end_profiling(self) -> str: ...


Provider = Tuple[str, Dict[str, str]]  # noqa: UP006 - evaluated; its name and options


class SessionOptions(Protocol):
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


_WORTH_SPINNING = 10_000_000  # samples times squared channels: 0.7 to 1.7 GFLOP


def worth_spinning(spec: ModelSpec) -> bool:
    """Whether threads of one call should wait actively for each other's part of a node.

    Two threads then make a network of 5 GFLOP 1.5 times as fast as one, and 1.3 times asleep, for
    the same CPU time. Below 1 GFLOP it costs CPU time, and at 0.4 even time by the clock
    (docs/results/cpu-latency.md). FLOPs go with the samples and the square of the channels; to
    count them here would take `load` another import.
    """
    return spec.n_samples * spec.backbone.stem_channels**2 >= _WORTH_SPINNING


def make_options(
    ort: ModuleType,
    precision: str,
    threads: int | None,
    profile_prefix: Path | None,
    spins: bool = False,
) -> SessionOptions:
    """What a session is made with.

    Args:
        spins: threads wait for each other actively during a call; see `worth_spinning`.
    """
    options: SessionOptions = ort.SessionOptions()
    if profile_prefix:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_prefix)
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    # Idle workers spin by default: at one call per 25 ms that burns 22 ms of CPU per call, 4-5 ms
    # without. An edge device runs other things between calls: spinning ends with the call.
    if spins:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not runs_on(precision, ONNX_RUNTIME):
        # Made for another engine; here it is only simulated. ONNX Runtime's integer kernels would
        # add products of its full 8-bit weights in 16 bits, and saturate on CPUs without VNNI.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def load_checked(
    ort: ModuleType,
    graph: bytes,
    weights: dict[str, bytes],
    options: SessionOptions,
    provider: Provider,
    name: str,
) -> InferenceSession:
    """A session of bytes that were checked; it opens no file, whatever the graph says."""
    if hasattr(options, "add_external_initializers_from_files_in_memory"):
        # Where a table is given, ONNX Runtime reads nothing else: so it is never empty.
        table = weights or {"none": b"\0"}
        sizes = [len(content) for content in table.values()]
        options.add_external_initializers_from_files_in_memory(
            list(table), list(table.values()), sizes
        )
        return create_session(ort, graph, options, provider, name)
    # An older version: a folder of our own, which holds nothing but what was checked.
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        for path, content in {**weights, "graph.onnx": graph}.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        return create_session(ort, str(Path(folder) / "graph.onnx"), options, provider, name)


def create_session(
    ort: ModuleType,
    graph: str | bytes,
    options: SessionOptions,
    provider: Provider,
    name: str,
) -> InferenceSession:
    try:
        session: InferenceSession = ort.InferenceSession(
            graph, sess_options=options, providers=[provider if provider[1] else provider[0]]
        )
    except Exception as error:  # onnxruntime's classes share no base but Exception
        raise _load_error(ort, name, error) from error
    if session.get_providers()[0] != provider[0]:
        # onnxruntime only warns and runs on the CPU when CUDA's or cuDNN's libraries are absent.
        raise PlatformError(
            f"onnxruntime {ort.__version__} fell back to {session.get_providers()[0]}.",
            f"{provider[0]}, which needs a GPU and the CUDA and cuDNN versions of this build.",
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
    if any(text in str(error) for text in _NO_CUDA_GRAPH):
        return PlatformError(
            got,
            "a network whose every node ONNX Runtime puts on the GPU.",
            "leave --gpu-call graph out.",
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
