"""What disturbed a measurement: other work on the machine, a changing clock, a drift.

`judge_noise` writes into the result what it found. Times suffer from all of it. A ratio of two rows
whose calls took turns survives a drift and some stolen time, which hit both alike; other work and
another clock slow one network more than another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gmme_edge.device.state import observe_state, throttled
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.profiling.statistics import unpaired_median_ratio

MOST_BACKGROUND_CORES = 0.5
MOST_STEAL_SHARE = 0.02
MOST_STEAL_SHARE_TO_RANK = 0.10
MOST_CHANGE = 0.10  # of the clock, and of the median between the first and the last third
_LEAST_SAMPLES = 30
_WAKE_S = 0.05


@dataclass(frozen=True)
class Moment:
    """Counters of the machine and of this process at one time; absent ones are 0.

    Attributes:
        busy_s: all cores' time since the start, without waiting, in core seconds.
        steal_s: the part that a hypervisor gave to others.
        own_s: this process's and its ended children's.
        frequency_mhz: the fastest CPU's clock.
        state: what `observe_state` tells.
    """

    wall_s: float
    busy_s: float
    steal_s: float
    own_s: float
    frequency_mhz: float
    state: dict[str, Any] = field(default_factory=dict)


def observe(stat: Path = Path("/proc/stat")) -> Moment:
    """The counters now; it never fails.

    An idle CPU lowers its clock, so this one is kept busy for a moment before the clocks are read.
    """
    awake = time.monotonic() + _WAKE_S
    while time.monotonic() < awake:
        pass
    state = observe_state()
    frequency_mhz = max(state.get("cpu_clocks_mhz", ()), default=0.0)
    busy_s, steal_s = _read_cpu(stat)
    used = os.times()
    own_s = used.user + used.system + used.children_user + used.children_system
    return Moment(time.monotonic(), busy_s, steal_s, own_s, frequency_mhz, state)


def noise_verdict(rankable: bool) -> str:
    """What the reasons of a disturbed result come to."""
    return "disturbed, but for ratios" if rankable else "too noisy to rank"


def judge_noise(rows: Sequence[LatencyRow], before: Moment, after: Moment) -> dict[str, Any]:
    """What a result's `noise` holds.

    `reasons` is empty where the times can be trusted; `rankable` tells whether ratios can.
    """
    wall_s = max(after.wall_s - before.wall_s, 1e-9)
    busy_s = after.busy_s - before.busy_s
    background = max(0.0, busy_s - (after.own_s - before.own_s)) / wall_s
    steal = max(0.0, after.steal_s - before.steal_s) / max(busy_s, 1e-9)
    clock = after.frequency_mhz / before.frequency_mhz if before.frequency_mhz else 1.0
    drift, sure = _drift(rows)
    reasons = []
    if background > MOST_BACKGROUND_CORES:
        reasons.append(f"other work kept {background:.1f} cores busy")
    if after.frequency_mhz and abs(clock - 1) > MOST_CHANGE:
        reasons.append(f"the clock went to {clock:.0%} of what it was")
    slowed = throttled(before.state, after.state)
    if slowed:
        reasons.append(f"the machine throttled: {', '.join(slowed)}")
    rankable = not reasons and steal <= MOST_STEAL_SHARE_TO_RANK
    if steal > MOST_STEAL_SHARE:
        reasons.append(f"the hypervisor took {steal:.0%} of the time")
    if sure:
        reasons.append(f"the last calls took ×{drift:.2f} of the first ones' time")
    return {
        "background_cores": round(background, 3),
        "steal_share": round(steal, 4),
        "clock_ratio": round(clock, 3),
        "drift": round(drift, 3),
        "frequency_mhz": [before.frequency_mhz, after.frequency_mhz],
        "reasons": reasons,
        "rankable": rankable,
    }


def _drift(rows: Sequence[LatencyRow]) -> tuple[float, bool]:
    """Median of the last third over that of the first; and whether that is more than chance.

    All rows together, each relative to its own median: they took turns.
    """
    if not rows:
        return 1.0, False
    relative = np.mean([np.asarray(row.samples_ms) / row.median_ms for row in rows], axis=0)
    third = len(relative) // 3
    if len(relative) < _LEAST_SAMPLES:
        return 1.0, False
    ratio, (low, high) = unpaired_median_ratio(relative[-third:], relative[:third])
    return ratio, low > 1 + MOST_CHANGE or high < 1 - MOST_CHANGE


def _read_cpu(stat: Path) -> tuple[float, float]:
    """(busy, stolen) core seconds since the machine started, of /proc/stat's first line."""
    try:
        words = stat.read_text(encoding="ascii").splitlines()[0].split()
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words[1:9])
    except (OSError, ValueError, IndexError):
        return 0.0, 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq + steal) / ticks, steal / ticks
