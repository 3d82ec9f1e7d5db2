"""A classifier that computes something simple and exact, and an offline reference for the rules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gmme_edge.runtime.streaming.rules import Rule


class LevelClassifier:
    """Probabilities from the mean and the extremes of a window, so that every sample matters."""

    labels = ("mean", "top", "bottom")

    def __init__(self, sample_rate_hz: int = 1000, window_samples: int = 400) -> None:
        self.sample_rate_hz, self.window_samples = sample_rate_hz, window_samples
        self.calls = 0

    def probabilities(self, waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        assert sample_rate_hz == self.sample_rate_hz
        assert waveform.shape == (self.window_samples,)
        assert waveform.dtype == np.float32
        self.calls += 1
        x = waveform.astype(np.float64)
        return np.clip([np.abs(x).mean() * 2, x.max(), -x.min()], 0, 1)


@dataclass
class Piece:
    start: int
    end: int
    windows: list[int]


def expected_events(
    probabilities: list[float], cells: list[tuple[int, int]], rule: Rule, rate_hz: int, hop_s: float
) -> list[tuple[int, int, float, float]]:
    """Start, end, peak and mean by going over the whole signal several times.

    Knows no maximum duration and no refractory time.
    """
    smooth, value = [], None
    for p in probabilities:
        weight = 1 - math.exp(-hop_s / rule.smoothing_s) if rule.smoothing_s else 1.0
        value = p if value is None else value + weight * (p - value)
        smooth.append(value)
    loud, pieces = False, []
    for k, (y, (start, end)) in enumerate(zip(smooth, cells, strict=True)):
        was, loud = loud, y >= (rule.off_threshold if loud else rule.on)
        if loud and was:
            pieces[-1].end = end
            pieces[-1].windows.append(k)
        elif loud:
            pieces.append(Piece(start, end, [k]))
    merged: list[Piece] = []
    for piece in pieces:
        if merged and piece.start - merged[-1].end <= round(rule.merge_gap_s * rate_hz):
            merged[-1].end = piece.end
            merged[-1].windows += piece.windows
        else:
            merged.append(piece)
    return [
        (m.start, m.end, max(found), sum(found) / len(found))
        for m in merged
        if m.end - m.start >= round(rule.min_duration_s * rate_hz)
        for found in [[probabilities[k] for k in m.windows]]
    ]
