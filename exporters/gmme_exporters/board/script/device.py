"""The device."""

import ctypes
import os
import platform
import re
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from gmme_edge.device.boards import board_name, cuda_version, describe_jetson
from gmme_edge.device.cpu import affinity, cpu_quota, memory_limit
from gmme_edge.device.system import read
from gmme_exporters.board.script.folder import Failure

CUDART = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")


class Cuda:
    """The first CUDA runtime library that finds a GPU, and the few calls made of it."""

    def __init__(self) -> None:
        self.library = self._find_library()
        values = [ctypes.c_int() for _ in range(3)]
        self.call("cudaGetDevice", ctypes.byref(values[0]))
        for value, attribute in ((values[1], 75), (values[2], 76)):
            self.call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, values[0])
        properties = ctypes.create_string_buffer(16384)  # begins with the name, char[256]
        self.call("cudaGetDeviceProperties", properties, values[0])
        self.gpu_name = properties.raw[:256].partition(b"\0")[0].decode(errors="replace")
        self.compute_capability = f"{values[1].value}.{values[2].value}"

    def _find_library(self) -> Any:
        reasons = []
        for name in CUDART:
            try:
                self.library = ctypes.CDLL(name)
            except OSError:
                continue
            self.library.cudaGetErrorString.restype = ctypes.c_char_p
            try:
                count = ctypes.c_int()
                self.call("cudaGetDeviceCount", ctypes.byref(count))
                if count.value:
                    return self.library
                reasons.append(f"{name} counts 0 devices")
            except Failure as error:
                reasons.append(f"{name}: {error}")
        found = "; ".join(reasons) or f"none of {', '.join(CUDART)} was found"
        raise Failure(7, f"CUDA finds no GPU: {found}.", "on a Jetson: apt install nvidia-jetpack.")

    def call(self, function: str, *arguments: Any) -> None:
        code = int(getattr(self.library, function)(*arguments))
        if code:
            text = (self.library.cudaGetErrorString(code) or b"unknown error").decode()
            raise Failure(7, f"CUDA's {function} failed: {text} (error {code}).")

    def malloc(self, size_bytes: int) -> int:
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size_bytes))
        return pointer.value or 0

    def copy(self, to: int, source: int, size_bytes: int, kind: int, stream: int) -> None:
        pointers = ctypes.c_void_p(to), ctypes.c_void_p(source)
        size = ctypes.c_size_t(size_bytes)
        self.call("cudaMemcpyAsync", *pointers, size, kind, ctypes.c_void_p(stream))


def describe_device(libraries: Dict[str, str], gpus: List[Dict[str, str]]) -> Dict[str, Any]:
    """As a result of `gmme-edge profile` describes it; what cannot be read is left out."""
    memory = re.search(r"MemTotal:\s*(\d+) kB", read("/proc/meminfo"))
    system = re.search(r'PRETTY_NAME="?([^"\n]+)', read("/etc/os-release"))
    model = re.search(r"(?m)^(?:model name|Model)\s*:\s*(.+)$", read("/proc/cpuinfo"))
    frequency = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    facts = {
        "board": board_name(),
        "cpu": model.group(1) if model else platform.processor(),
        "arch": platform.machine(),
        "logical_cores": os.cpu_count(),
        "affinity": affinity(),
        "cpu_quota_cores": cpu_quota(),
        "memory_limit_bytes": memory_limit(),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else 0,
        "gpus": gpus,
        "cuda": cuda_version(),
        "jetson": describe_jetson(),
        "os": system.group(1) if system else platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": {"numpy": np.__version__, **libraries},
        "cpu_governor": read(frequency),
        "load_average": list(os.getloadavg()),
        "temperature_c": temperature_c(),
    }
    return {name: value for name, value in facts.items() if value}


def temperature_c() -> float:
    """The hottest of the board's sensors."""
    zones = [read(path) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max([int(zone) / 1000 for zone in zones if zone.isdigit()] or [0.0])


def peak_rss_bytes() -> int:
    """This process's peak resident set so far; 1 where the kernel does not tell."""
    match = re.search(r"VmHWM:\s*(\d+) kB", read("/proc/self/status"))
    return int(match.group(1)) * 1024 if match else 1
