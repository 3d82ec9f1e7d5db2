"""Intervals and tests of proportions and means (numpy only)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Tuple  # noqa: UP035

import numpy as np

Interval = Tuple[float, float]  # noqa: UP006 - evaluated, and Python 3.8 has no other
Z_95 = 1.959964  # the normal distribution's two-sided 95 % quantile


def wilson_interval(correct: int, n: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a proportion; honest near 0 and 1, where clips are few."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = centre - half if correct else 0.0  # exact where rounding would leave 1e-17
    high = centre + half if correct < n else 1.0
    return max(0.0, low), min(1.0, high)


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


def exact_interval(hits: int, n: int, within: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of a proportion: it covers at least `within`, for any n."""
    tail = (1 - within) / 2
    low = 0.0 if hits == 0 else _bisect(lambda p: _at_least(hits, n, p) < tail)
    high = 1.0 if hits == n else _bisect(lambda p: _at_least(hits + 1, n, p) < 1 - tail)
    return low, high


def _at_least(hits: int, n: int, p: float) -> float:
    """P(X >= hits) of a binomial X, in logarithms so that large n do not overflow."""
    ways = math.lgamma(n + 1)
    return math.fsum(
        math.exp(
            ways
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log1p(-p)
        )
        for k in range(hits, n + 1)
    )


def _bisect(is_below: Callable[[float], bool]) -> float:
    """Where `is_below` turns from true to false between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2
