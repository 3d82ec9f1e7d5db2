"""The state that a machine is in at one moment: clocks, temperatures, throttling, free memory.

It is read before and after a measurement. What a machine does not tell is left out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from gmme_edge.device.system import ROOT, output_of, read, read_number

_CPUS = "sys/devices/system/cpu"
_GPU_FIELDS = "name,pstate,clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_{}_reasons.active"
# nvml.h: NVML_CLOCKS_EVENT_REASON_…; drivers before R535 call them throttle reasons.
_GPU_REASONS = {
    0x2: "application clocks", 0x4: "power cap", 0x8: "hardware slowdown", 0x10: "sync boost",
    0x20: "too hot (driver)", 0x40: "too hot (hardware)", 0x80: "power brake",
    0x100: "display clocks",
}  # fmt: skip
SLOWED = ("hardware slowdown", "too hot (driver)", "too hot (hardware)", "power brake")
"""Reasons of a GPU that nobody sets on purpose."""


def observe_state(root: Path = ROOT) -> dict[str, Any]:
    """This moment's state, as JSON values; it never fails."""
    facts = {
        "cpu_governors": cpu_governors(root),
        "cpu_clocks_mhz": cpu_clocks_mhz(root),
        "gpu_clocks_mhz": _devfreq_clocks(root),
        "gpus": _gpus(),
        "temperatures_c": _temperatures(root),
        "throttle_events": _throttle_events(root),
        "load_average": _load_average(),
        "memory_available_bytes": _available_memory(root),
    }
    return {name: value for name, value in facts.items() if value}


def cpu_governors(root: Path = ROOT) -> dict[str, int]:
    """How many CPUs have which frequency governor."""
    found = Counter(read(path) for path in _cpufreq(root, "scaling_governor"))
    return {name: n for name, n in sorted(found.items()) if name}


def cpu_clocks_mhz(root: Path = ROOT) -> list[float]:
    """Every CPU's clock, of cpufreq or else of /proc/cpuinfo."""
    khz = [read_number(path) for path in _cpufreq(root, "scaling_cur_freq")]
    clocks = [value / 1000 for value in khz if value]
    listed = re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", read(root / "proc/cpuinfo"), re.MULTILINE)
    return clocks or [float(value) for value in listed]


def throttled(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What slowed the machine between two states: counters that rose, reasons of GPUs."""
    rose = [
        name
        for name, count in after.get("throttle_events", {}).items()
        if count > before.get("throttle_events", {}).get(name, 0)
    ]
    reasons = [reason for gpu in after.get("gpus", ()) for reason in gpu.get("throttled", ())]
    return rose + [reason for reason in dict.fromkeys(reasons) if reason in SLOWED]


def parse_gpu_states(csv: str) -> list[dict[str, Any]]:
    """nvidia-smi's lines of `_GPU_FIELDS`; "[N/A]" and "[Not Supported]" are left out."""
    clocks = ("clock_mhz", "memory_clock_mhz")
    names = ("name", "performance_state", *clocks, "temperature_c", "power_w", "throttled")
    states = []
    for line in csv.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == len(names):
            pairs = zip(names, words)  # noqa: B905 - Python 3.8 has no strict
            values = {name: _gpu_value(name, word) for name, word in pairs}
            states.append({name: value for name, value in values.items() if value})
    return states


def _gpu_value(name: str, word: str) -> Any:  # noqa: ANN401 - a JSON value
    if word.startswith("["):
        return None
    if name in ("name", "performance_state"):
        return word
    try:
        if name == "throttled":
            active = int(word, 16)
            return [reason for bit, reason in _GPU_REASONS.items() if active & bit]
        return float(word)
    except ValueError:
        return None


def _gpus() -> list[dict[str, Any]]:
    for word in ("event", "throttle"):
        query = "--query-gpu=" + _GPU_FIELDS.format(word)
        csv = output_of("nvidia-smi", query, "--format=csv,noheader,nounits")
        if csv:
            return parse_gpu_states(csv)
    return []


def _cpufreq(root: Path, name: str) -> list[Path]:
    paths = (root / _CPUS).glob("cpu[0-9]*/cpufreq/" + name)
    return sorted(paths, key=lambda path: int(path.parts[-3][3:]))


def _devfreq_clocks(root: Path) -> dict[str, float]:
    """Of a Jetson's GPU and accelerators: ``17000000.gpu`` → MHz."""
    clocks = {}
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        hz = read_number(folder / "cur_freq")
        if hz:
            clocks[folder.name] = hz / 1e6
    return clocks


def _temperatures(root: Path) -> dict[str, float]:
    """By sensor; a zone that is switched off gives an error, and counts as absent."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        milli = read_number(zone / "temp")
        if milli is not None and -50_000 < milli < 200_000:
            found[read(zone / "type") or zone.name] = milli / 1000
    return found


def _throttle_events(root: Path) -> dict[str, int]:
    """Since the machine started: heat of x86, a Jetson's over-current, a Raspberry Pi's flags."""
    counters: Counter[str] = Counter()
    for kind in ("core", "package"):
        for path in (root / _CPUS).glob(f"cpu[0-9]*/thermal_throttle/{kind}_throttle_count"):
            counters[f"{kind} too hot"] += read_number(path) or 0
    for path in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"):
        counters[path.name.partition("_")[0] + " over-current"] += read_number(path) or 0
    flags = read(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if re.fullmatch(r"[0-9a-f]{1,8}", flags):
        counters["firmware's flags"] = int(flags, 16)
    return dict(counters)


def _load_average() -> list[float]:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return []


def _available_memory(root: Path) -> int:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", read(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
