"""Order statistics of latency samples and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gmme_edge.statistics import Interval

RESAMPLES = 2000
_CHUNK_VALUES = 1 << 20
_MEDIAN = 50.0


def median_interval(samples: Sequence[float]) -> Interval:
    """The 95 % bootstrap interval of the median of `samples` (percentile method, fixed seed)."""
    return percentile_interval(samples, _MEDIAN)


def percentile_interval(samples: Sequence[float], percent: float) -> Interval:
    """The 95 % bootstrap interval of any percentile; for a high one of few samples it is rough."""
    return _interval(_resampled(np.asarray([samples], dtype=np.float64), percent)[:, 0])


def paired_ratio(samples: Sequence[float], baseline: Sequence[float]) -> tuple[float, Interval]:
    """The median of ``samples[i] / baseline[i]`` with its 95 % bootstrap interval.

    Sample i of both was taken in the same repetition: what slowed both at that moment cancels. It
    would not in the ratio of two medians, whose interval is about four times as wide where a
    machine's speed wanders.

    Raises:
        ValueError: unequal numbers of samples, which cannot be paired.
    """
    if len(samples) != len(baseline):
        raise ValueError(f"{len(samples)} samples cannot be paired with {len(baseline)}.")
    ratios = np.divide(samples, baseline, dtype=np.float64)
    return float(np.median(ratios)), median_interval(ratios.tolist())


def unpaired_median_ratio(
    samples: Sequence[float], baseline: Sequence[float]
) -> tuple[float, Interval]:
    """The ratio of the medians of two runs, whose samples are drawn independently.

    The interval knows nothing of what differed between the runs, such as clocks or heat.
    """
    medians = [
        _resampled(np.asarray([values], dtype=np.float64), _MEDIAN, seed)[:, 0]
        for seed, values in enumerate((samples, baseline))
    ]
    ratio = float(np.median(samples) / np.median(baseline))
    return ratio, _interval(medians[0] / medians[1])


def _resampled(samples: NDArray[np.float64], percent: float, seed: int = 0) -> NDArray[np.float64]:
    """Percentiles ``(RESAMPLES, k)`` of ``(k, n)`` samples, columns drawn with replacement."""
    rows, n = samples.shape
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_VALUES // (rows * n))
    found = []
    for start in range(0, RESAMPLES, step):
        drawn = rng.integers(n, size=(min(step, RESAMPLES - start), n))
        found.append(np.percentile(samples[:, drawn], percent, axis=2).T)
    return np.concatenate(found)


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
