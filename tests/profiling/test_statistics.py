from __future__ import annotations

import numpy as np
import pytest

from gmme_edge.profiling.statistics import median_interval, median_ratio


def test_the_interval_of_the_median_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        low, high = median_interval(rng.normal(10, 1, size=60).tolist())
        covered += low <= 10 <= high
    # 95 % of 60 is 57; fewer than 50 has a probability below 0.001.
    assert covered >= 50


def test_common_noise_cancels_in_the_ratio() -> None:
    rng = np.random.default_rng(1)
    noise = rng.lognormal(0, 0.5, size=200)
    baseline = 10 * noise
    ratio, (low, high) = median_ratio((2 * baseline).tolist(), baseline.tolist())
    assert ratio == pytest.approx(2)
    assert (low, high) == pytest.approx((2, 2))


def test_independent_noise_widens_the_ratio() -> None:
    rng = np.random.default_rng(2)
    samples, baseline = rng.normal(20, 2, 100), rng.normal(10, 1, 100)
    ratio, (low, high) = median_ratio(samples.tolist(), baseline.tolist())
    assert ratio == pytest.approx(np.median(samples) / np.median(baseline))
    assert low < ratio < high
    assert low < 2 < high
    assert 0.01 < high - low < 0.3


def test_one_sample_is_its_own_interval() -> None:
    assert median_interval([3.0]) == (3.0, 3.0)


def test_unequal_numbers_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="paired"):
        median_ratio([1.0, 2.0], [1.0])
