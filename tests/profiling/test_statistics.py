from __future__ import annotations

import numpy as np
import pytest

from gmme_edge.profiling.statistics import median_interval, paired_ratio


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
    ratio, (low, high) = paired_ratio((2 * baseline).tolist(), baseline.tolist())
    assert ratio == pytest.approx(2)
    assert (low, high) == pytest.approx((2, 2))


def test_a_wandering_speed_does_not_hide_a_small_difference() -> None:
    rng = np.random.default_rng(3)
    speed = np.exp(np.cumsum(rng.normal(0, 0.02, 200)))
    baseline, samples = (speed * rng.lognormal(0, 0.01, 200) for _ in range(2))
    _, (low, high) = paired_ratio((1.05 * samples).tolist(), baseline.tolist())
    assert 1.04 < low < high < 1.06


def test_independent_noise_widens_the_ratio() -> None:
    rng = np.random.default_rng(2)
    samples, baseline = rng.normal(20, 2, 100), rng.normal(10, 1, 100)
    ratio, (low, high) = paired_ratio(samples.tolist(), baseline.tolist())
    assert ratio == pytest.approx(np.median(samples / baseline))
    assert low < ratio < high
    assert low < 2 < high
    assert 0.01 < high - low < 0.3


def test_one_sample_is_its_own_interval() -> None:
    assert median_interval([3.0]) == (3.0, 3.0)


def test_unequal_numbers_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="paired"):
        paired_ratio([1.0, 2.0], [1.0])
