"""The TensorRT backends: ``tensorrt`` (Jetson, servers) and ``tensorrt-rtx`` (desktop GPUs).

They need numpy, the engine library and libcudart. Written against the calls that TensorRT 8.6,
10, 11 and TensorRT-RTX 1 have in common; the tests run it on a stand-in for the GPU, so that
execution itself has only been checked where a result file says so.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, Bundle
from gmme_edge.device.cuda import Cudart, Device, open_cudart
from gmme_edge.errors import EngineError, UsageError
from gmme_edge.runtime.engines.cache import Rebuild, open_engine
from gmme_edge.runtime.engines.info import Engine, Machine, rebuild_command
from gmme_edge.runtime.engines.launch import Launcher, ResidentEngine
from gmme_edge.runtime.engines.layer_times import LayerMs, LayerTimer, make_layer_timer
from gmme_edge.runtime.engines.library import (
    captured_log,
    check_sm,
    create_object,
    load_library,
)
from gmme_edge.runtime.engines.tensors import check_tensors
from gmme_edge.runtime.fork import ForkGuard
from gmme_edge.runtime.session import Outputs, check_batch, check_outputs

if TYPE_CHECKING:
    from gmme_edge.runtime.backends import Request
    from gmme_edge.runtime.engines.objects import CudaEngine, EngineRuntime, ExecutionContext


def open_session(request: Request) -> TensorRTSession:
    """`backends.Opener`'s part."""
    return TensorRTSession(
        request.bundle, request.backend, request.precision, request.rebuild, request.cuda_graph
    )


def check(backend: str) -> None:
    """`backends.Opener`'s part: raises as `check_device` does."""
    check_device(backend)


def supports(backend: str, precision: str) -> bool:
    """`backends.Opener`'s part: a GPU without it is told when its engine is built."""
    return True


def check_device(backend: str) -> Device:
    """The GPU that `backend` would run on.

    Raises:
        UsageError: no TensorRT backend of this name.
        MissingDependencyError: the library is not installed.
        PlatformError: no GPU, no driver, no libcudart, or a GPU that the library does not serve.
    """
    return _open_device(backend)[2]


def _open_device(backend: str) -> tuple[ModuleType, Cudart, Device]:
    library = load_library(backend, f"run the {backend} backend")
    cuda = open_cudart()
    device = cuda.device()
    if backend == "tensorrt-rtx":
        check_sm(library, device.sm)
    return library, cuda, device


class TensorRTSession:
    """One engine of a bundle on this machine's GPU; the interface is `session.Session`.

    Batches larger than the engine's largest run in several parts.

    Args:
        rebuild: leave to build an engine here, once, where the bundle's don't fit or are damaged.
        cuda_graph: launch the network as one CUDA graph, for one batch size within the engine's.

    Raises:
        UsageError: the bundle lacks this precision.
        BundleError: a file changed since the export, or a sidecar is damaged.
        MissingDependencyError: the library is not installed.
        EngineError: no engine fits this machine; the message tells why, and how to build one.
        PlatformError: no GPU, or not enough memory on it.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        precision: str,
        rebuild: Rebuild | None = None,
        cuda_graph: bool = False,
    ) -> None:
        self.backend, self.precision = backend, precision
        self._spec = bundle.manifest.model
        self.n_samples = self._spec.n_samples
        self._library, self._cuda, device = _open_device(backend)
        machine = Machine.of(backend, self._library.__version__, device)
        chosen = open_engine(bundle, precision, machine, rebuild)
        self._info = chosen.info
        self._guard = ForkGuard()  # of runtime, engine, context: each needs those before it
        self._buffers: dict[str, int] = {}
        self._row_shapes: dict[str, tuple[int, ...]] = {}
        self._launcher: Launcher | None = None
        self._timer: LayerTimer | None = None
        with ExitStack() as resources:
            # Freed last to first; what was acquired is freed too when a later step fails.
            engine = self._deserialize(chosen)
            resources.callback(self._guard.release)
            self._row_shapes = check_tensors(
                self._library, engine, self.n_samples, self._info.max_batch, chosen.path
            )
            self._stream = self._cuda.create_stream()
            resources.callback(self._cuda.destroy_stream, self._stream)
            for name, shape in self._row_shapes.items():
                size_bytes = 4 * self._info.max_batch * int(np.prod(shape))
                self._buffers[name] = self._cuda.malloc(size_bytes)
                resources.callback(self._cuda.free, self._buffers[name])
            context = self._create_context(engine)
            self._guard.add(context)
            self._launcher = Launcher(self._cuda, context, self._stream, cuda_graph)
            resources.callback(self._drop_context)
            self._resources = resources.pop_all()

    def _deserialize(self, chosen: Engine) -> CudaEngine:
        with captured_log(self._library) as log:
            runtime: EngineRuntime = create_object(self._library, self._library.Runtime, log)
            engine = runtime.deserialize_cuda_engine(chosen.plan)
        if engine is None:
            raise EngineError(
                f"{self.backend} {self._library.__version__} cannot load {chosen.path}: "
                f"{log.reason()}",
                "an engine that was built on this machine.",
                f"delete {chosen.path}; then, " + rebuild_command(self.backend, self.precision),
            )
        self._guard.add(runtime, engine)
        return engine

    def _create_context(self, engine: CudaEngine) -> ExecutionContext:
        with captured_log(self._library) as log:
            context = engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{self.backend} cannot prepare the engine: {log.reason()}",
                fix="free GPU memory, or build the engine with a smaller largest batch.",
            )
        for name, pointer in self._buffers.items():
            context.set_tensor_address(name, pointer)
        return context

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``.

        Raises:
            UsageError: another shape, or the session is closed.
            PlatformError: the GPU failed, for example for want of memory.
        """
        self._guard.check()
        batch = check_batch(waveform, self.n_samples)
        if self._launcher and self._launcher.is_graph:
            self._check_single_part(batch)
        outputs = {
            name: np.empty((len(batch), *shape), np.float32)
            for name, shape in self._row_shapes.items()
            if name != INPUT
        }
        for start in range(0, len(batch), self._info.max_batch):
            stop = start + self._info.max_batch
            parts = {name: values[start:stop] for name, values in outputs.items()}
            self._run_part(batch[start:stop], parts)
        where = f"{self.precision} on {self.backend}"
        return check_outputs(outputs, len(batch), self._spec, where)

    def _run_part(self, batch: NDArray[np.float32], parts: Outputs) -> None:
        """Run at most `max_batch` clips; `parts` receive the rows of each output."""
        with captured_log(self._library) as log:
            try:
                self._cuda.copy_to_device(self._buffers[INPUT], batch, self._stream)
                done = self._enqueue(len(batch))
                for name, rows in parts.items():
                    self._cuda.copy_to_host(rows, self._buffers[name], self._stream)
            finally:
                # The arrays must not be freed while a queued copy still uses them.
                self._cuda.synchronize(self._stream)
        if not done:
            raise EngineError(f"{self.backend} failed on {len(batch)} clips: {log.reason()}")

    def _enqueue(self, n_clips: int) -> bool:
        """Queue the network for clips that the input's buffer holds; whether that succeeded."""
        assert self._launcher is not None  # the guard was asked
        # Below the profile's smallest batch the spare rows hold whatever the buffer held: rows
        # don't influence each other, and only the asked-for ones are copied back.
        n_rows = max(n_clips, self._info.min_batch)
        return self._launcher.enqueue(n_clips, (n_rows, self.n_samples))

    def _check_single_part(self, batch: NDArray[np.float32]) -> None:
        """Raise unless one run of the engine, or of its graph, does the whole batch."""
        if len(batch) > self._info.max_batch:
            raise UsageError(
                f"A batch of {len(batch)} at once on an engine for {self._info.max_batch}.",
                "a batch within the engine's.",
                "build it again with a larger --max-batch, or copy (--gpu-call copied).",
            )
        if self._launcher:
            self._launcher.check(len(batch))

    def resident(self, waveform: NDArray[np.float32]) -> ResidentEngine:
        """`session.GpuSession`'s part.

        Raises:
            UsageError: as `run`, or a batch that the engine does in several parts.
            PlatformError: the GPU failed.
        """
        self._guard.check()
        batch = check_batch(waveform, self.n_samples)
        self._check_single_part(batch)
        self._cuda.copy_to_device(self._buffers[INPUT], batch, self._stream)
        self._cuda.synchronize(self._stream)
        return ResidentEngine(self, len(batch))

    def run_resident(self, n_clips: int) -> None:
        """Run on what the input's buffer holds, and wait; nothing is copied."""
        self._guard.check()
        with captured_log(self._library) as log:
            done = self._enqueue(n_clips)
            self._cuda.synchronize(self._stream)
        if not done:
            raise EngineError(f"{self.backend} failed on {n_clips} clips: {log.reason()}")

    def time_layers(self, waveform: NDArray[np.float32]) -> LayerMs:
        """One run, layer by layer, as ``IProfiler`` tells it; later runs are slower, too.

        Raises:
            EngineError: the library told of no layer.
            GmmeEdgeError: as `resident`.
        """
        resident = self.resident(waveform)
        if self._timer is None and self._launcher:
            self._timer = make_layer_timer(self._library)
            self._launcher.profile(self._timer)
        assert self._timer is not None  # the guard was asked
        self._timer.reported = []
        resident()
        if not self._timer.reported:
            raise EngineError(f"{self.backend} {self._library.__version__} told of no layer.")
        return self._timer.reported

    def fetch(self, n_clips: int) -> Outputs:
        """Copy what the outputs' buffers hold to the host."""
        self._guard.check()
        outputs = {
            name: np.empty((n_clips, *shape), np.float32)
            for name, shape in self._row_shapes.items()
            if name != INPUT
        }
        for name, rows in outputs.items():
            self._cuda.copy_to_host(rows, self._buffers[name], self._stream)
        self._cuda.synchronize(self._stream)
        return check_outputs(outputs, n_clips, self._spec, f"{self.precision} on {self.backend}")

    def close(self) -> None:
        """Free the context, the GPU memory and the stream; calling it twice does no harm."""
        if self._guard.is_forked:
            self._resources.pop_all()  # the GPU's memory is the parent's to free
        self._resources.close()

    def _drop_context(self) -> None:
        if self._launcher:
            self._launcher.close()
        self._launcher = self._timer = None
        self._guard.drop_last()
