"""A stand-in for a GPU: libcudart on host memory, and an engine library that runs numpy.

Both keep to what the real ones demand: queued work happens at `cudaStreamSynchronize` only, a
shape outside the profile is refused, and failures are a return value plus a line in the log.
"""

# ruff: noqa: ANN401, N802 - the names and the untyped C arguments are CUDA's and TensorRT's

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.bundles import TINY, WIDTH, reference

PLAN = b"a plan that the fake library can load"
VERSION = "10.3.0.26"


class FakeCuda:
    """The functions of libcudart, as ctypes would call them."""

    def __init__(self, sm: int = 89, devices: int = 1) -> None:
        self.sm, self.devices = sm, devices
        self.failing: dict[str, int] = {}
        self.blocks: dict[int, Any] = {}
        self.queues: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        # A plain function, because callers set `restype` on it.
        self.cudaGetErrorString = lambda code: {2: b"out of memory"}.get(code, b"made to fail")

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cuda") and name in object.__getattribute__(self, "failing"):
            return lambda *_: object.__getattribute__(self, "failing")[name]
        return object.__getattribute__(self, name)

    def cudaGetDeviceCount(self, count: Any) -> int:
        count._obj.value = self.devices
        return 0 if self.devices else 100

    def cudaGetDevice(self, index: Any) -> int:
        index._obj.value = 0
        return 0

    def cudaDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = {75: self.sm // 10, 76: self.sm % 10}[attribute]
        return 0

    def cudaGetDeviceProperties(self, properties: Any, device: Any) -> int:
        properties[:9] = b"Fake GPU\0"
        return 0

    def cudaMalloc(self, pointer: Any, size: ctypes.c_size_t) -> int:
        block = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(block)
        self.blocks[pointer._obj.value] = block
        return 0

    def cudaFree(self, pointer: ctypes.c_void_p) -> int:
        del self.blocks[pointer.value]
        return 0

    def cudaStreamCreateWithFlags(self, stream: Any, flags: int) -> int:
        assert flags == 1, "the stream must be non-blocking"
        stream._obj.value = 1000 + len(self.queues)
        self.queues[stream._obj.value] = []
        return 0

    def cudaStreamDestroy(self, stream: ctypes.c_void_p) -> int:
        assert not self.queues.pop(stream.value), "work was still queued"
        return 0

    def cudaMemcpyAsync(self, to: Any, source: Any, size: Any, kind: int, stream: Any) -> int:
        device_side = to if kind == 1 else source
        assert size.value <= len(self.blocks[device_side.value]), "a copy past the block's end"
        self.queues[stream.value].append(
            lambda: ctypes.memmove(to.value, source.value, size.value) and None
        )
        return 0

    def cudaStreamBeginCapture(self, stream: ctypes.c_void_p, mode: int) -> int:
        assert mode == 1 and not self.queues[stream.value], "work was still queued"
        self.capturing[stream.value] = self.queues[stream.value]
        self.queues[stream.value] = []
        return 0

    def cudaStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        graph._obj.value = 5000 + len(self.graphs)
        self.graphs[graph._obj.value] = self.queues[stream.value]
        self.queues[stream.value] = self.capturing.pop(stream.value)
        return 0

    def cudaGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        assert flags.value == 0
        executable._obj.value = 9000 + graph.value
        self.graphs[executable._obj.value] = self.graphs[graph.value]
        return 0

    def cudaGraphDestroy(self, graph: ctypes.c_void_p) -> int:
        del self.graphs[graph.value]
        return 0

    def cudaGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:
        return self.cudaGraphDestroy(executable)

    def cudaGraphLaunch(self, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        self.launches += 1
        self.queues[stream.value] += self.graphs[executable.value]
        return 0

    def cudaStreamSynchronize(self, stream: ctypes.c_void_p) -> int:
        assert stream.value not in self.capturing, "a capture does not run"
        queue = self.queues[stream.value]
        while queue:
            queue.pop(0)()
        return 0


class FakeLibrary(ModuleType):
    """The part of TensorRT's Python module that a runtime needs.

    Attributes:
        profile: smallest and largest batch of its engines.
        loads: how often an engine was deserialized, successfully or not.
        alive: the runtimes, engines and contexts that still exist.
    """

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = 0, 1, 2, 3

    class IProfiler:
        """Only a class that calls this may be given to a context."""

        def __init__(self) -> None:
            self.is_made = True

    float32, float16 = "float32", "float16"

    def __init__(self, cuda: FakeCuda, name: str = "tensorrt", version: str = VERSION) -> None:
        super().__init__(name)
        self.__version__ = version
        self.cuda, self.profile = cuda, (1, 8)
        self.tensors: dict[str, tuple[tuple[int, ...], str]] = {
            "waveform": ((-1, TINY.n_samples), self.float32),
            "logits": ((-1, TINY.n_classes), self.float32),
            "embedding": ((-1, WIDTH), self.float32),
        }
        self.layer_ms: list[tuple[str, float]] = []
        self.loads, self.execution_fails, self.context_fails = 0, False, False
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def Runtime(self, logger: Any) -> FakeRuntime:
        return FakeRuntime(self, logger)


class FakeRuntime:
    def __init__(self, library: FakeLibrary, logger: Any) -> None:
        self.library, self.logger = library, logger
        library.alive.add(self)

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        self.library.loads += 1
        if plan != PLAN:
            self.logger.log(self.library.ILogger.INFO, "Loaded engine size: 0 MiB")
            self.logger.log(self.library.ILogger.ERROR, "Platform specific tag mismatch detected")
            return None
        return FakeEngine(self)


class FakeEngine:
    def __init__(self, runtime: FakeRuntime) -> None:
        self.library, self.logger = runtime.library, runtime.logger
        self.names = list(self.library.tensors)
        self.num_io_tensors = len(self.names)
        self.library.alive.add(self)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.library.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> str:
        return self.library.tensors[name][1]

    def create_execution_context(self) -> FakeContext | None:
        if self.library.context_fails:
            self.logger.log(self.library.ILogger.ERROR, "OutOfMemory: requested 1 TiB")
            return None
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.library, self.logger = engine.library, engine.logger
        self.addresses: dict[str, int] = {}
        self.batch, self.profiler = 0, None
        self.library.alive.add(self)

    def set_tensor_address(self, name: str, address: int) -> None:
        assert address in self.library.cuda.blocks
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, int]) -> bool:
        smallest, largest = self.library.profile
        self.batch = shape[0]
        fits = smallest <= shape[0] <= largest and shape[1] == TINY.n_samples
        if not fits:
            self.logger.log(self.library.ILogger.ERROR, f"{shape} is outside the profile")
        return fits

    def execute_async_v3(self, stream: int) -> bool:
        if self.library.execution_fails:
            self.logger.log(self.library.ILogger.ERROR, "Cuda Runtime (an illegal access)")
            return False
        batch = self.batch
        self.library.cuda.queues[stream].append(lambda: self._compute(batch))
        if self.profiler is not None:
            assert self.profiler.is_made, "the base class was not initialized"
            for name, ms in self.library.layer_ms:
                self.profiler.report_layer_time(name, ms)
        return True

    def _array(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        block = self.library.cuda.blocks[self.addresses[name]]
        return np.frombuffer(block, np.float32, int(np.prod(shape))).reshape(shape)

    def _compute(self, batch: int) -> None:
        waveform = self._array("waveform", (batch, TINY.n_samples))
        for name, values in reference(waveform).items():
            self._array(name, values.shape)[:] = values


def install_cuda(monkeypatch: pytest.MonkeyPatch, libraries: dict[str, Any]) -> None:
    """Let `open_cudart` find exactly these libcudart stand-ins, by name."""

    def load(name: str) -> Any:
        if name not in libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return libraries[name]

    monkeypatch.setattr("gmme_edge.device.cuda._candidates", lambda: ["absent.so", *libraries])
    monkeypatch.setattr("gmme_edge.device.cuda.ctypes.CDLL", load)
