"""What machine a measurement ran on, and in which state it was; absent facts are left out."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from gmme_edge.device.boards import l4t_version, parse_power_mode
from gmme_edge.device.cpu import cpu_quota

ISA_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "sve",
)  # fmt: skip
LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx")

_GPU_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def describe_device() -> dict[str, Any]:
    """The machine's processors, memory, system, library versions and state, as JSON values.

    It never fails: what cannot be read is left out. Sizes are in bytes, frequencies in MHz;
    `load_average` and `cpu_frequency_mhz` are those of this moment.
    """
    cpu_info = _read("/proc/cpuinfo")
    governor = _read(_CPUFREQ / "scaling_governor")
    facts = {
        "cpu": parse_cpu_model(cpu_info) or platform.processor(),
        "arch": platform.machine(),
        "physical_cores": count_physical_cores(cpu_info),
        "logical_cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "cpu_quota_cores": cpu_quota(),
        "isa": parse_isa(cpu_info),
        "memory_bytes": parse_memory(_read("/proc/meminfo")),
        "gpus": parse_gpus(_run(*_GPU_QUERY)),
        "jetson": _describe_jetson(),
        "os": parse_os_name(_read("/etc/os-release")) or platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": installed_versions(LIBRARIES),
        "cpu_governor": governor.strip(),
        "cpu_frequency_mhz": parse_khz(_read(_CPUFREQ / "scaling_cur_freq")),
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
    pairs = zip(
        re.findall(r"^physical id\s*:\s*(\d+)$", cpu_info, re.MULTILINE),
        re.findall(r"^core id\s*:\s*(\d+)$", cpu_info, re.MULTILINE),
        strict=False,
    )
    return len(set(pairs))


def parse_memory(mem_info: str) -> int:
    """Bytes of memory, from /proc/meminfo."""
    match = re.search(r"^MemTotal:\s*(\d+) kB$", mem_info, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def parse_os_name(os_release: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', os_release, re.MULTILINE)
    return match[1] if match else ""


def parse_khz(text: str) -> float:
    """cpufreq's kHz as MHz."""
    return int(text) / 1000 if text.strip().isdigit() else 0.0


def parse_gpus(csv: str) -> list[dict[str, str]]:
    """nvidia-smi's ``name, driver`` lines; Jetson's "[N/A]" fields are left out."""
    gpus = []
    for line in csv.splitlines():
        name, _, driver = (part.strip() for part in line.partition(","))
        if name and driver:
            gpus.append({k: v for k, v in (("name", name), ("driver", driver)) if v != "[N/A]"})
    return gpus


def _describe_jetson() -> dict[str, str]:
    model = _read("/proc/device-tree/model").rstrip("\0\n")
    l4t = l4t_version()
    mode = parse_power_mode(_run("nvpmodel", "-q")) if l4t else ""
    return _present({"model": model, "l4t": l4t, "power_mode": mode})


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


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _run(*command: str) -> str:
    """What a program of the system prints; one that PATH finds in the current folder is none."""
    program = shutil.which(command[0])
    if program is None or not Path(program).is_absolute():
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, timeout=10, check=False, cwd=os.sep
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""
