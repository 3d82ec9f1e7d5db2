"""NVML's energy counter: the whole graphics card, in millijoules, from Volta on.

A Jetson's driver does not support it; there the board's rails are read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gmme_edge.device.energy.meter import GPU, Meters, Unreadable
from gmme_edge.device.system import ROOT
from gmme_edge.errors import MissingDependencyError, require

_DRIVER = "proc/driver/nvidia/version"


class NvmlMeter:
    """One GPU. `nvml` is the module pynvml, `device` its handle."""

    scope, counts_energy = GPU, True

    def __init__(self, nvml: Any, device: Any) -> None:  # noqa: ANN401 - no stubs
        self._nvml, self._device = nvml, device
        name = nvml.nvmlDeviceGetName(device)
        self.name = f"NVML: {name.decode() if isinstance(name, bytes) else name}"
        self.read()

    def read(self) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1000
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error


def find_nvml(root: Path = ROOT) -> Meters:
    """The meter of the GPU that CUDA takes, where there is an NVIDIA driver."""
    if not (root / _DRIVER).exists():
        return Meters()
    try:
        nvml = require("pynvml", "read a GPU's energy", "energy")
    except MissingDependencyError as error:
        return Meters([], [Unreadable("NVML", error.got.rstrip("."), error.fix)])
    try:
        nvml.nvmlInit()
        return Meters([NvmlMeter(nvml, _device(nvml))])
    except (nvml.NVMLError, OSError) as error:
        fix = "a GPU from Volta on; on a Jetson the board's rails are read instead"
        return Meters([], [Unreadable("NVML", str(error), fix)])


def _device(nvml: Any) -> Any:  # noqa: ANN401 - no stubs
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    if chosen.isdecimal() and len(chosen) < 9:
        return nvml.nvmlDeviceGetHandleByIndex(int(chosen))
    return nvml.nvmlDeviceGetHandleByUUID(chosen)
