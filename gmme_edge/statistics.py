"""Intervals and tests of proportions and means (numpy only)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]
Z_95 = 1.959964  # the normal distribution's two-sided 95 % quantile


def wilson_interval(correct: int, n: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a proportion; honest near 0 and 1, where clips are few."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval of the mean of `values`; None for fewer than two.

    Over the folds of a cross-validation it is a guide rather than a guarantee: the training sets
    overlap (Bengio and Grandvalet 2004), so folds vary less than independent runs would.
    """
    if len(values) < 2:
        return None
    half = _t_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return mean - half, mean + half


def _t_quantile(df: int, within: float = 0.95) -> float:
    """The t with P(-t < T < t) = `within`, by bisection."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, df) < within else (low, middle)
    return math.sqrt(df) * math.tan(low)


def _t_within(angle: float, df: int) -> float:
    """P(|T| < √df·tan(angle)) for a whole df (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    odd = df % 2
    total, term = 0.0, math.cos(angle) if odd else 1.0
    for k in range(2 + odd, df + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(angle) ** 2
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value: of `only_first` + `only_second` fair coins, a split at least as uneven."""
    n = only_first + only_second
    tail = ways = 1
    for k in range(min(only_first, only_second)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return float(min(1.0, 2 * tail / 2**n))
