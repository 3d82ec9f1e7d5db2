"""How many CPUs this process may use: affinity and the quotas of its control group.

A container with half a CPU sees all cores of its machine. Threads beyond its quota are stopped
in the middle of a call, for up to a tenth of a second.
"""

from __future__ import annotations

import os
from pathlib import Path

from gmme_edge.errors import UsageError

MOST_THREADS = 1024


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
    for line in _read(root / "proc/self/cgroup").splitlines():
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
    return _read(path).split()


def _share(*words: str) -> float:
    """Quota over period; 0.0 for "max", -1 or anything unreadable."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return 0.0
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
