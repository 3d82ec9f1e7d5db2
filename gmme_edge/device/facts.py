"""What machine a measurement ran on, and in which state it was; absent facts are left out."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib import metadata
from typing import Any

from gmme_edge.device.boards import board_name, cuda_version, describe_jetson
from gmme_edge.device.cpu import affinity, cpu_quota, memory_limit
from gmme_edge.device.state import cpu_clocks_mhz, cpu_governors
from gmme_edge.device.system import output_of, read

ISA_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "sve",
)  # fmt: skip
LIBRARIES = (
    "gmme-edge", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx",
    "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "torch",
)  # fmt: skip

_GPU_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def describe_device() -> dict[str, Any]:
    """The machine's processors, memory, system, library versions and state, as JSON values.

    It never fails: what cannot be read is left out. Sizes are in bytes, frequencies in MHz;
    `load_average` and `cpu_frequency_mhz` are those of this moment.
    """
    cpu_info = read("/proc/cpuinfo")
    clocks_mhz = cpu_clocks_mhz()
    facts = {
        "board": board_name(),
        "cpu": parse_cpu_model(cpu_info) or platform.processor(),
        "arch": platform.machine(),
        "physical_cores": count_physical_cores(cpu_info),
        "logical_cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "affinity": affinity(),
        "cpu_quota_cores": cpu_quota(),
        "memory_limit_bytes": memory_limit(),
        "isa": parse_isa(cpu_info),
        "memory_bytes": parse_memory(read("/proc/meminfo")),
        "gpus": parse_gpus(output_of(*_GPU_QUERY)),
        "cuda": cuda_version(),
        "jetson": describe_jetson(),
        "os": parse_os_name(read("/etc/os-release")) or platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": installed_versions(LIBRARIES),
        "cpu_governor": ", ".join(cpu_governors()),
        "cpu_frequency_mhz": max(clocks_mhz, default=0.0),
        "load_average": _load_average(),
    }
    return _present(facts)


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of those distributions that are installed, without importing them."""
    versions = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def parse_cpu_model(cpu_info: str) -> str:
    """``model name`` (x86) or ``Model`` (some ARM boards) of /proc/cpuinfo."""
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpu_info, re.MULTILINE)
    return match[1].strip() if match else ""


def parse_isa(cpu_info: str) -> list[str]:
    """Those of `ISA_FLAGS` that /proc/cpuinfo names; ARM's dot product is called asimddp there."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpu_info, re.MULTILINE)
    found = set(match[1].split()) if match else set()
    return [flag for flag in ISA_FLAGS if flag in found]


def count_physical_cores(cpu_info: str) -> int:
    """Distinct (socket, core) pairs; 0 where /proc/cpuinfo does not tell (ARM)."""
    sockets = re.findall(r"^physical id\s*:\s*(\d+)$", cpu_info, re.MULTILINE)
    cores = re.findall(r"^core id\s*:\s*(\d+)$", cpu_info, re.MULTILINE)
    return len(set(zip(sockets, cores)))  # noqa: B905 - Python 3.8 has no strict


def parse_memory(mem_info: str) -> int:
    """Bytes of memory, from /proc/meminfo."""
    match = re.search(r"^MemTotal:\s*(\d+) kB$", mem_info, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def parse_os_name(os_release: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', os_release, re.MULTILINE)
    return match[1] if match else ""


def parse_gpus(csv: str) -> list[dict[str, str]]:
    """nvidia-smi's ``name, driver`` lines; Jetson's "[N/A]" fields are left out."""
    gpus = []
    for line in csv.splitlines():
        name, _, driver = (part.strip() for part in line.partition(","))
        if name and driver:
            gpus.append({k: v for k, v in (("name", name), ("driver", driver)) if v != "[N/A]"})
    return gpus


def _present(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value}


def _usable_cores() -> int:
    """Cores that this process may run on; fewer than there are under taskset or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _load_average() -> list[float]:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return []
