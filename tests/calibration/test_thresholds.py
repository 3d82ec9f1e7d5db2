"""Each method against its definition, computed from the values themselves in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gmme_calibration.ranges import count_in_bins
from gmme_calibration.thresholds import (
    BINS,
    METHODS,
    Histogram,
    Method,
    entropy_range,
    mse_range,
    percentile_range,
)
from gmme_edge.errors import UsageError

RNG = np.random.default_rng(3)
SAMPLES = {
    "normal": RNG.normal(size=20_000),
    "heavy tails": RNG.standard_t(2, 20_000),
    "rectified": np.maximum(RNG.normal(size=20_000), 0),
    "all negative": -RNG.gamma(2, 1, 20_000) - 1,
    "off centre": RNG.normal(5, 1, 20_000),
    "an outlier": np.append(RNG.normal(size=20_000), 80),
    "uniform": RNG.uniform(-1, 1, 20_000),
}
HISTOGRAM_METHODS = [name for name in METHODS if Method(name).needs_histograms]

samples = pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES.keys())


def histogram_of(values: np.ndarray) -> Histogram:
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return Histogram(count_in_bins(values, max(abs(low), abs(high))), low, high)


def quantization_error(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of unsigned 8-bit values whose range includes zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    quantized = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.mean((values - (quantized - zero) * scale) ** 2))


@samples
def test_bins_hold_what_numpy_counts(values: np.ndarray) -> None:
    histogram = histogram_of(values)
    expected, edges = np.histogram(
        values.astype(np.float32), BINS, (-histogram.magnitude, histogram.magnitude)
    )
    assert histogram.counts.sum() == len(values)
    # Rounding may put a value that lies on an edge into the neighbouring bin, never further.
    shifted = np.abs(np.cumsum(histogram.counts) - np.cumsum(expected))
    assert shifted.max() <= 3 and np.count_nonzero(shifted) < BINS / 20
    np.testing.assert_allclose(histogram.edges, edges, atol=1e-9)


@samples
@pytest.mark.parametrize("percentile", [90, 99, 99.9, 100])
def test_percentile_agrees_with_sorted_values(values: np.ndarray, percentile: float) -> None:
    histogram = histogram_of(values)
    low, high = percentile_range(histogram, percentile)
    outside = (100 - percentile) / 2
    bin_width = 2 * histogram.magnitude / BINS
    gap = np.diff(np.sort(values))  # between neighbours, a percentile is a matter of definition
    at = int(len(values) * outside / 100)
    room = 2 * bin_width + gap[max(at - 2, 0) : at + 2].max()
    assert low == pytest.approx(np.percentile(values, outside), abs=room)
    room = 2 * bin_width + gap[::-1][max(at - 2, 0) : at + 2].max()
    assert high == pytest.approx(np.percentile(values, 100 - outside), abs=room)
    inside = np.mean((values >= low - bin_width / 50) & (values <= high + bin_width / 50))
    assert inside >= percentile / 100 - 1e-9


@samples
def test_mse_is_close_to_the_best_of_all_ranges(values: np.ndarray) -> None:
    """Really quantized, with every pair of bounds on a grid of 60 by 60."""
    found = quantization_error(values, *mse_range(histogram_of(values)))
    lows = np.linspace(min(values.min(), 0), 0, 60)
    highs = np.linspace(0, max(values.max(), 0), 60)
    best = min(
        quantization_error(values, low, high)
        for low in dict.fromkeys(lows)
        for high in dict.fromkeys(highs)
        if high > low
    )
    assert found <= 1.05 * best
    assert found <= 1.001 * quantization_error(values, values.min(), values.max())


def test_mse_gives_up_an_outlier() -> None:
    values = np.append(RNG.normal(size=1_000_000), 80)
    assert mse_range(histogram_of(values))[1] < 45


def reference_entropy(histogram: Histogram) -> float:
    """The threshold of the talk's pseudo code, level by level and bin by bin."""
    half = BINS // 2
    counts = [
        float(histogram.counts[half + i] + histogram.counts[half - 1 - i]) for i in range(half)
    ]
    found = (math.inf, 0)
    for n_bins in range(128, half + 1, 8):
        kept, beyond = counts[:n_bins], sum(counts[n_bins:])
        if sum(kept) == 0:
            continue
        per_level = n_bins // 128
        q = []
        for level in range(128):
            end = (level + 1) * per_level if level < 127 else n_bins
            merged = kept[level * per_level : end]
            occupied = sum(count > 0 for count in merged)
            q += [sum(merged) / occupied if count else 1e-4 for count in merged]
        p = [*kept[:-1], kept[-1] + beyond]
        n_p, n_q = sum(p), sum(kept)
        lost = sum(a / n_p * math.log(a / n_p / (b / n_q)) for a, b in zip(p, q, strict=True) if a)
        if lost <= found[0] + 1e-12:
            found = (lost, n_bins)
    return found[1] * histogram.magnitude / half


@pytest.mark.parametrize("name", ["normal", "heavy tails", "rectified", "an outlier"])
def test_entropy_agrees_with_the_talks_pseudo_code(name: str) -> None:
    histogram = histogram_of(SAMPLES[name])
    threshold = reference_entropy(histogram)
    low, high = entropy_range(histogram)
    assert high == pytest.approx(min(threshold, histogram.highest))
    assert low == pytest.approx(max(-threshold, histogram.lowest))


def test_entropy_gives_up_an_outlier() -> None:
    assert entropy_range(histogram_of(SAMPLES["an outlier"]))[1] < 20


@pytest.mark.parametrize("name", HISTOGRAM_METHODS)
@pytest.mark.parametrize("constant", [0.0, 1e-40, 3.0, -2.5, 1e30])
def test_a_constant_keeps_its_value(name: str, constant: float) -> None:
    values = np.full(50, constant, np.float32)
    low, high = Method(name).range_of(histogram_of(values))
    assert low <= high
    assert min(low, 0.0) <= values[0] <= max(high, 0.0)


@pytest.mark.parametrize("name", HISTOGRAM_METHODS)
@settings(deadline=None, max_examples=30)  # many processes share the test machine
@given(
    arrays.arrays(
        np.float32, st.integers(1, 80), elements=st.floats(-1e6, 1e6, width=32, allow_nan=False)
    )
)
def test_any_range_lies_within_the_extremes(name: str, values: np.ndarray) -> None:
    low, high = Method(name).range_of(histogram_of(values))
    assert float(values.min()) <= low <= high <= float(values.max())


@pytest.mark.parametrize("name", HISTOGRAM_METHODS)
def test_a_mirrored_tensor_has_the_mirrored_range(name: str) -> None:
    histogram = histogram_of(SAMPLES["heavy tails"])
    mirrored = Histogram(histogram.counts[::-1], -histogram.highest, -histogram.lowest)
    low, high = Method(name).range_of(histogram)
    assert Method(name).range_of(mirrored) == pytest.approx((-high, -low))


def test_methods_are_read_and_written() -> None:
    assert [str(Method.parse(name)) for name in METHODS] == [
        "mean+std", "mean", "minmax", "percentile:99.99", "entropy", "mse",
    ]  # fmt: skip
    assert Method.parse("percentile:99.9") == Method("percentile", 99.9)


@pytest.mark.parametrize(
    "text", ["", "kl", "percentile:", "percentile:x", "percentile:50", "percentile:101",
             "percentile:nan", "entropy:3", "mean:"],
)  # fmt: skip
def test_unknown_methods_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Unknown calibration method"):
        Method.parse(text)
