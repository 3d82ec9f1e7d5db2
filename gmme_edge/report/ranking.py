"""Whether a network is faster than another: what an interval of interleaved ratios says."""

from __future__ import annotations

from typing import Literal

from gmme_edge.statistics import Interval

Rank = Literal["faster", "slower", "equal", "undecided", "noisy"]

SMALLEST = 0.01
"""Differences below are none: two copies of one network differ by up to so much."""
WIDEST = 0.05
"""An interval that reaches further from 1 cannot tell equal networks from different ones."""


def rank_ratio(interval: Interval | None, is_noisy: bool = False) -> Rank | None:
    """The rank of a ratio of latencies with its 95 % interval; None where there is none.

    Args:
        is_noisy: something disturbed the measurement, so that nothing is ranked.
    """
    if interval is None:
        return None
    if is_noisy:
        return "noisy"
    low, high = interval
    if low > 1 + SMALLEST:
        return "slower"
    if high < 1 - SMALLEST:
        return "faster"
    return "equal" if low > 1 - WIDEST and high < 1 + WIDEST else "undecided"
