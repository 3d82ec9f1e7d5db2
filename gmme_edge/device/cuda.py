"""The few CUDA runtime calls that inference needs, through ctypes: no torch, no cuda-python."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.device.system import read
from gmme_edge.errors import PlatformError
from gmme_edge.installation import pip_command

_LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
_STREAM_NON_BLOCKING = 1
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_CAPTURE_THREAD_LOCAL = 1
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor and …Minor
# cudaDeviceProp begins with `char name[256]` in every CUDA version; its size grew from 0.7 kB to
# 1 kB over the versions, so the buffer is generous.
_PROPERTIES_SIZE, _NAME_SIZE = 16_384, 256

_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Device:
    """A GPU: its name, and its compute capability as 89 for 8.9."""

    name: str
    sm: int


class Cudart:
    """The CUDA runtime on its current device; pointers and streams are plain integers.

    Every call raises `PlatformError` with CUDA's own message when it fails. The device is CUDA's
    default one: choose another GPU with the environment variable ``CUDA_VISIBLE_DEVICES``.

    Args:
        library: the loaded libcudart.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._library.cudaGetErrorString.restype = ctypes.c_char_p

    def _call(self, function: str, *arguments: object) -> None:
        code = int(getattr(self._library, function)(*arguments))
        if code == 0:
            return
        text = (self._library.cudaGetErrorString(code) or b"unknown error").decode()
        raise PlatformError(f"CUDA's {function} failed: {text} (error {code}).")

    def device_count(self) -> int:
        count = ctypes.c_int()
        self._call("cudaGetDeviceCount", ctypes.byref(count))
        return count.value

    def device(self) -> Device:
        index, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("cudaGetDevice", ctypes.byref(index))
        self._call("cudaDeviceGetAttribute", ctypes.byref(major), _MAJOR, index)
        self._call("cudaDeviceGetAttribute", ctypes.byref(minor), _MINOR, index)
        properties = ctypes.create_string_buffer(_PROPERTIES_SIZE)
        self._call("cudaGetDeviceProperties", properties, index)
        name = properties.raw[:_NAME_SIZE].partition(b"\0")[0].decode(errors="replace")
        return Device(name, 10 * major.value + minor.value)

    def malloc(self, size_bytes: int) -> int:
        pointer = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size_bytes))
        return pointer.value or 0

    def free(self, pointer: int) -> None:
        self._call("cudaFree", ctypes.c_void_p(pointer))

    def create_stream(self) -> int:
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreateWithFlags", ctypes.byref(stream), _STREAM_NON_BLOCKING)
        return stream.value or 0

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def capture(self, stream: int, enqueue: Callable[[], bool]) -> int:
        """A CUDA graph of what `enqueue` puts into the stream, ready to `launch`; 0 if it failed.

        What is captured does not run.
        """
        self._call("cudaStreamBeginCapture", ctypes.c_void_p(stream), _CAPTURE_THREAD_LOCAL)
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        done = False
        try:
            done = enqueue()
        finally:
            self._call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            if done:
                # Its namesake without flags takes other arguments before CUDA 12.
                self._call(
                    "cudaGraphInstantiateWithFlags",
                    ctypes.byref(executable),
                    graph,
                    ctypes.c_ulonglong(0),
                )
        finally:
            self._call("cudaGraphDestroy", graph)
        return executable.value or 0

    def launch(self, executable: int, stream: int) -> None:
        """Queue a graph that was captured."""
        self._call("cudaGraphLaunch", ctypes.c_void_p(executable), ctypes.c_void_p(stream))

    def destroy_graph(self, executable: int) -> None:
        self._call("cudaGraphExecDestroy", ctypes.c_void_p(executable))

    def copy_to_device(self, pointer: int, array: NDArray[np.float32], stream: int) -> None:
        """Queue a copy of a C-contiguous `array`, which must stay alive until `synchronize`."""
        self._copy(pointer, array.ctypes.data, array.nbytes, _HOST_TO_DEVICE, stream)

    def copy_to_host(self, array: NDArray[np.float32], pointer: int, stream: int) -> None:
        """Queue a copy into a C-contiguous `array`, valid after `synchronize`."""
        self._copy(array.ctypes.data, pointer, array.nbytes, _DEVICE_TO_HOST, stream)

    def _copy(self, to: int, source: int, size_bytes: int, kind: int, stream: int) -> None:
        self._call(
            "cudaMemcpyAsync",
            ctypes.c_void_p(to),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size_bytes),
            kind,
            ctypes.c_void_p(stream),
        )


def open_cudart() -> Cudart:
    """The first CUDA runtime library of this machine that finds a GPU.

    Several may be installed, and one that is newer than the driver fails where an older one works.

    Raises:
        PlatformError: no libcudart, no driver or no GPU; the message tells for each library why.
    """
    reasons: dict[str, str] = {}
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        cuda = Cudart(library)
        try:
            if cuda.device_count() > 0:
                return cuda
            reasons.setdefault("it counts 0 devices.", name)
        except PlatformError as error:
            reasons.setdefault(error.got, name)
    if not reasons:
        raise PlatformError(
            "No CUDA runtime library was found.",
            f"one of {', '.join(_LIBRARIES)}.",
            "install CUDA's runtime (on a Jetson: apt install nvidia-jetpack; elsewhere: "
            f"{pip_command('install', 'nvidia-cuda-runtime')}), or use --backend ort-cpu.",
        )
    raise PlatformError(
        "CUDA finds no usable GPU. "
        + " ".join(f"{name}: {reason}" for reason, name in reasons.items()),
        "an NVIDIA GPU and a driver that is new enough for the CUDA runtime.",
        "install or update the driver (in a container: give it the GPU), or use --backend ort-cpu.",
    )


def _candidates() -> Iterator[str]:
    yield from _LIBRARIES
    for folder in sys.path:
        # Where pip puts NVIDIA's wheels: nvidia/cuda_runtime/lib (CUDA 12), nvidia/cu13/lib.
        for path in sorted(Path(folder).glob("nvidia/*/lib/libcudart.so.*"), reverse=True):
            yield str(path)


def driver_version() -> str:
    """The NVIDIA kernel driver's version, for example ``550.54.14``; "" where unknown."""
    match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", read(_DRIVER_FILE))
    return match.group(1) if match else ""
