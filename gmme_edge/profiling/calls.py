"""One sample of a stream of calls: a single call, the mean of a burst, or some hops with pauses.

The script for boards takes this module in as it is, so it keeps to Python 3.8 and numpy.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BURST_CALLS, PACED_HOPS = 10, 10


def take(call: Callable[[], object], stream: str, hop_s: float | None) -> tuple[list[float], int]:
    """One contender's milliseconds of one round, and how many deadlines it missed."""
    if stream == "paced" and hop_s:
        return take_hops(call, hop_s)
    n_calls = BURST_CALLS if stream == "offline" else 1
    start_ns = time.perf_counter_ns()
    for _ in range(n_calls):
        call()
    return [(time.perf_counter_ns() - start_ns) / 1e6 / n_calls], 0


def take_hops(call: Callable[[], object], hop_s: float) -> tuple[list[float], int]:
    """A call per hop. One that is due while another runs waits; more than one are left out."""
    ms: list[float] = []
    misses = 0
    due_s = time.perf_counter()
    while len(ms) < PACED_HOPS:
        now_s = time.perf_counter()
        if now_s < due_s:
            time.sleep(due_s - now_s)
        call()
        end_s = time.perf_counter()
        ms.append(1000 * (end_s - due_s))
        missed = int((end_s - due_s) / hop_s)
        misses += missed
        due_s += hop_s * max(1, missed)
    return ms, misses
