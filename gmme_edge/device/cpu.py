"""What this process may use: CPUs by affinity, and the limits of its control groups.

A container with half a CPU sees all cores of its machine. Threads beyond its quota are stopped
in the middle of a call, for up to a tenth of a second.
"""

from __future__ import annotations

import os
from pathlib import Path

from gmme_edge.device.system import read
from gmme_edge.errors import UsageError

MOST_THREADS = 1024
_NO_LIMIT = 1 << 60  # version 1 writes the largest multiple of a page for "none"


def check_threads(threads: int | None) -> None:
    """Raise `UsageError` for a number of threads that no machine of today can start."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(
            f"{threads} threads were asked for.", f"at least 1, and at most {MOST_THREADS}."
        )


def default_threads(root: Path = Path("/")) -> int:
    """Threads of one call where affinity or a quota allows fewer than all cores; 0 otherwise.

    0 lets the engine choose, which then takes one per physical core.
    """
    usable, logical = usable_cpus(root), os.cpu_count() or 1
    return max(1, int(usable)) if usable < logical else 0


def usable_cpus(root: Path = Path("/")) -> float:
    """Cores' worth of time that this process gets, such as 0.5."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(float(cores), cpu_quota(root) or float(cores))


def cpu_quota(root: Path = Path("/")) -> float:
    """The smallest quota of this process's control groups, in cores; 0.0 where there is none.

    Args:
        root: where ``proc`` and ``sys`` are found.
    """
    quotas = [q for q in (*_quotas_v2(root), *_quotas_v1(root)) if q > 0]
    return min(quotas, default=0.0)


def affinity() -> str:
    """The CPUs that this process may run on, as taskset writes them: ``0-3,8``."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    parts: list[list[int]] = []
    for cpu in sorted(os.sched_getaffinity(0)):
        if parts and cpu == parts[-1][-1] + 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def memory_limit(root: Path = Path("/")) -> int:
    """The smallest limit of this process's control groups, in bytes; 0 where there is none."""
    v2 = [f / "memory.max" for f in _chain(root / "sys/fs/cgroup", _group(root, "0::"))]
    v1 = [
        folder / "memory.limit_in_bytes"
        for folder in _chain(root / "sys/fs/cgroup/memory", _group(root, "memory"))
    ]
    limits = [int(words[0]) for words in map(_words, v2 + v1) if words and words[0].isdigit()]
    return min((limit for limit in limits if 0 < limit < _NO_LIMIT), default=0)


def _quotas_v2(root: Path) -> list[float]:
    """Of ``cpu.max``, "50000 100000" or "max 100000", in the group and in each group above it."""
    path = _group(root, "0::")
    folders = _chain(root / "sys/fs/cgroup", path)
    return [_share(*_words(folder / "cpu.max")) for folder in folders]


def _quotas_v1(root: Path) -> list[float]:
    found = []
    for mount in ("cpu", "cpu,cpuacct"):
        for folder in _chain(root / "sys/fs/cgroup" / mount, _group(root, "cpu")):
            quota = _words(folder / "cpu.cfs_quota_us")
            found.append(_share(*quota, *_words(folder / "cpu.cfs_period_us")))
    return found


def _group(root: Path, controller: str) -> str:
    """This process's group in ``/proc/self/cgroup``: "0::/a/b" (v2) or "4:cpu,cpuacct:/a" (v1)."""
    for line in read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if (f"{number}::" == controller and not names) or controller in names.split(","):
            return path
    return "/"


def _chain(mount: Path, group: str) -> list[Path]:
    """The group's folder and all above it; in a container the mount itself is the group."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]


def _words(path: Path) -> list[str]:
    return read(path).split()


def _share(*words: str) -> float:
    """Quota over period; 0.0 for "max", -1 or anything unreadable."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return 0.0
    return int(words[0]) / int(words[1])
