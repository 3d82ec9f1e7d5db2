"""A tensor's histogram to the range that 8 bits should span: percentile, entropy, squared error.

All three work on counts over `BINS` equal bins from -a to a, where a is the tensor's largest
magnitude. Zero is an edge, a bin is at most an eighth of a quantization step of the full range,
and nothing here depends on how many clips were counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError

BINS = 4096
_STEPS = 255  # of unsigned 8-bit activations
_LEVELS = 128  # of one sign, as TensorRT's entropy calibration has it
_STRIDE = 8  # bins between two candidates: a quantization step, so finer would change nothing
_NOTHING = 1e-4  # values in an empty bin, for a logarithm
_PERCENTILE = 99.99

Range = tuple[float, float]


@dataclass(frozen=True)
class Histogram:
    """What is kept of a tensor's values.

    Attributes:
        counts: shape ``(BINS,)``, over equal bins from ``-magnitude`` to ``magnitude``.
        lowest: the smallest value; no range goes below it.
        highest: the largest value; no range goes above it.
    """

    counts: NDArray[np.int64]
    lowest: float
    highest: float

    @property
    def magnitude(self) -> float:
        return max(abs(self.lowest), abs(self.highest))

    @property
    def edges(self) -> NDArray[np.float64]:
        return np.linspace(-self.magnitude, self.magnitude, len(self.counts) + 1)

    def clip(self, low: float, high: float) -> Range:
        return max(float(low), self.lowest), min(float(high), self.highest)


@dataclass(frozen=True)
class Method:
    """How a tensor's values on the calibration clips become its range.

    Attributes:
        name: one of `METHODS`.
        percentile: the share of the values that stays inside, for ``percentile`` only.
    """

    name: str = "mean+std"
    percentile: float = _PERCENTILE

    @classmethod
    def parse(cls, text: str) -> Method:
        """``"entropy"``, ``"percentile"`` or ``"percentile:99.9"``; raises `UsageError`."""
        name, colon, number = text.partition(":")
        try:
            percentile = float(number) if colon else _PERCENTILE
        except ValueError:
            percentile = -1.0
        if name not in METHODS or (colon and name != "percentile") or not 50 < percentile <= 100:
            raise UsageError(
                f"Unknown calibration method {text!r}.",
                f"one of {', '.join(METHODS)}; percentile:99.9 keeps 99.9 % of the values.",
            )
        return cls(name, percentile)

    def __str__(self) -> str:
        return f"{self.name}:{self.percentile:g}" if self.name == "percentile" else self.name

    @property
    def needs_histograms(self) -> bool:
        return self.name in _FROM_HISTOGRAM

    def range_of(self, histogram: Histogram) -> Range:
        """The range that a method which `needs_histograms` gives."""
        if self.name == "percentile":
            return percentile_range(histogram, self.percentile)
        return _FROM_HISTOGRAM[self.name](histogram)


def percentile_range(histogram: Histogram, percentile: float = _PERCENTILE) -> Range:
    """Leave out ``(100 - percentile) / 2`` percent of the values at each end, no more."""
    allowed = histogram.counts.sum() * (100 - percentile) / 200
    below = np.searchsorted(np.cumsum(histogram.counts), allowed, side="right")
    above = np.searchsorted(np.cumsum(histogram.counts[::-1]), allowed, side="right")
    edges = histogram.edges
    return histogram.clip(edges[below], edges[len(edges) - 1 - above])


def mse_range(histogram: Histogram) -> Range:
    """The range of the smallest expected squared error of 8-bit values.

    Inside, rounding to steps of s costs s²/12 per value; outside, the squared distance to the
    bound. Every pair of a lower and an upper bound on the grid is tried, one quantization step
    apart; zero stays inside, as integer convolution needs it for padding.
    """
    counts, edges = histogram.counts.astype(np.float64), histogram.edges
    middle = len(counts) // 2
    low_at = np.arange(0, middle + 1, _STRIDE)
    below, clipped_below = _tail(counts, edges, low_at)
    above, clipped_above = _tail(counts[::-1], -edges[::-1], low_at)
    low = np.maximum(edges[low_at], min(histogram.lowest, 0.0))
    high = np.minimum(-edges[low_at], max(histogram.highest, 0.0))
    step = (high[None, :] - low[:, None]) / _STEPS
    inside = counts.sum() - below[:, None] - above[None, :]
    error = clipped_below[:, None] + clipped_above[None, :] + inside * step**2 / 12
    best_low, best_high = np.unravel_index(np.argmin(error), error.shape)
    return histogram.clip(low[best_low], high[best_high])


def _tail(
    counts: NDArray[np.float64], edges: NDArray[np.float64], at: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many values lie below ``edges[at]``, and the sum of their squared distances to it."""
    centres = (edges[:-1] + edges[1:]) / 2
    moments = (np.append(0, np.cumsum(counts * centres**k))[at] for k in range(3))
    number, first, second = moments
    bound = edges[at]
    return number, np.maximum(second - 2 * bound * first + number * bound**2, 0)


def entropy_range(histogram: Histogram) -> Range:
    """The range of the least information lost: TensorRT's entropy calibration.

    Of the magnitudes' distribution P, clipped at a threshold, and Q, the same in 128 levels, the
    divergence KL(P‖Q) = Σ P log(P/Q) is least at the threshold chosen (S. Migacz, "8-bit inference
    with TensorRT", GTC 2017). What is clipped joins P's last bin; where Q has nothing there, a
    ten-thousandth of a value stands in, so that a lone outlier can be given up.
    """
    half = len(histogram.counts) // 2
    counts = (histogram.counts[half:] + histogram.counts[:half][::-1]).astype(np.float64)
    candidates = range(_LEVELS, half + 1, _STRIDE)
    lost = [_divergence(counts, n_bins) for n_bins in candidates]
    # Of equal ones the widest: it clips nothing for nothing.
    best = len(lost) - 1 - int(np.argmin(lost[::-1]))
    threshold = candidates[best] * histogram.magnitude / half
    return histogram.clip(-threshold, threshold)


def _divergence(counts: NDArray[np.float64], n_bins: int) -> float:
    """KL divergence of the counts clipped to `n_bins` from what 128 levels make of them."""
    kept = counts[:n_bins]
    beyond = counts[n_bins:].sum()
    if kept.sum() == 0:
        return float("inf")
    width = n_bins // _LEVELS
    starts = np.arange(_LEVELS) * width  # the last level also takes what does not divide
    occupied = np.add.reduceat((kept > 0).astype(np.float64), starts)
    per_bin = np.add.reduceat(kept, starts) / np.maximum(occupied, 1)
    level = np.minimum(np.arange(n_bins) // width, _LEVELS - 1)
    clipped = kept.copy()
    clipped[-1] += beyond
    levelled = np.where(kept > 0, per_bin[level], _NOTHING)
    here = clipped > 0
    p, q = clipped[here] / clipped.sum(), levelled[here] / kept.sum()
    return float((p * np.log(p / q)).sum())


_FROM_HISTOGRAM: dict[str, Callable[[Histogram], Range]] = {
    "percentile": percentile_range,
    "entropy": entropy_range,
    "mse": mse_range,
}
METHODS = ("mean+std", "mean", "minmax", *_FROM_HISTOGRAM)
