"""A graphics card's energy, by NVML itself: a board need not have its Python module."""

import ctypes
import os
from typing import Any

from gmme_edge.device.energy.meter import GPU, Meters, Unreadable

_NVML = "libnvidia-ml.so.1"


class NvmlMeter:
    """The counter of the GPU that CUDA takes, in joules since the driver was loaded."""

    scope, counts_energy = GPU, True

    def __init__(self, library: Any) -> None:
        self.library = library
        self.library.nvmlErrorString.restype = ctypes.c_char_p
        self.device = ctypes.c_void_p()
        self.call("nvmlInit_v2")
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
        if chosen.isdecimal():
            index = ctypes.c_uint(int(chosen))
            self.call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(self.device))
        else:
            uuid = ctypes.c_char_p(chosen.encode())
            self.call("nvmlDeviceGetHandleByUUID", uuid, ctypes.byref(self.device))
        text = ctypes.create_string_buffer(96)
        self.call("nvmlDeviceGetName", self.device, text, ctypes.c_uint(96))
        self.name = "NVML: " + text.value.decode(errors="replace")
        self.read()

    def call(self, function: str, *arguments: Any) -> None:
        code = int(getattr(self.library, function)(*arguments))
        if code:
            text = (self.library.nvmlErrorString(code) or b"unknown error").decode()
            raise OSError(f"NVML's {function} failed: {text}")

    def read(self) -> float:
        millijoules = ctypes.c_ulonglong()
        self.call("nvmlDeviceGetTotalEnergyConsumption", self.device, ctypes.byref(millijoules))
        return millijoules.value / 1000


def find_nvml() -> Meters:
    """The meter of the GPU, where there is an NVIDIA driver whose counter can be read."""
    try:
        library = ctypes.CDLL(_NVML)
    except OSError:
        return Meters()
    try:
        return Meters([NvmlMeter(library)])
    except (OSError, AttributeError) as error:
        fix = "a GPU from Volta on; on a Jetson the board's rails are read instead"
        return Meters([], [Unreadable("NVML", str(error), fix)])
