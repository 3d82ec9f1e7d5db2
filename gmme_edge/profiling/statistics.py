"""Order statistics of latency samples and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_CHUNK_VALUES = 1 << 20

Interval = tuple[float, float]


def median_interval(samples: Sequence[float]) -> Interval:
    """The 95 % bootstrap interval of the median of `samples` (percentile method, fixed seed)."""
    return _interval(_resampled_medians(np.asarray([samples], dtype=np.float64))[:, 0])


def median_ratio(samples: Sequence[float], baseline: Sequence[float]) -> tuple[float, Interval]:
    """``median(samples) / median(baseline)`` with its 95 % bootstrap interval.

    Sample i of both was taken in the same repetition, so repetitions are drawn jointly: what
    slowed both at that moment cancels.

    Raises:
        ValueError: unequal numbers of samples, which cannot be paired.
    """
    if len(samples) != len(baseline):
        raise ValueError(f"{len(samples)} samples cannot be paired with {len(baseline)}.")
    pair = np.asarray([samples, baseline], dtype=np.float64)
    medians = _resampled_medians(pair)
    ratio = float(np.median(pair[0]) / np.median(pair[1]))
    return ratio, _interval(medians[:, 0] / medians[:, 1])


def _resampled_medians(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians ``(RESAMPLES, k)`` of ``(k, n)`` samples, columns drawn with replacement."""
    rows, n = samples.shape
    rng = np.random.default_rng(0)
    step = max(1, _CHUNK_VALUES // (rows * n))
    medians = []
    for start in range(0, RESAMPLES, step):
        drawn = rng.integers(n, size=(min(step, RESAMPLES - start), n))
        medians.append(np.median(samples[:, drawn], axis=2).T)
    return np.concatenate(medians)


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
