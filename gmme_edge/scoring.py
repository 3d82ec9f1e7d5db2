"""From logits to classes to an accuracy with its uncertainty (numpy only)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy of `n` clips.

    Attributes:
        accuracy: 0 to 1.
        interval: Wilson's 95 % interval of the accuracy.
        per_class: label → ``{"accuracy": …, "n": …}``; accuracy is None where n is 0.
        confusion: rows are true classes, columns predicted ones.
    """

    accuracy: float
    interval: tuple[float, float]
    n: int
    per_class: dict[str, dict[str, float | int | None]]
    confusion: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "n": self.n,
            "per_class": self.per_class,
            "labels": list(self.per_class),
            "confusion": self.confusion.tolist(),
        }


def wilson_interval(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion; honest near 0 and 1, where clips are few."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def score(
    predicted: NDArray[np.integer], true: NDArray[np.integer], labels: tuple[str, ...]
) -> Score:
    """Compare class indices of shape ``(n,)``."""
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (true, predicted), 1)
    correct, n = int(np.trace(confusion)), len(true)
    totals = confusion.sum(axis=1)
    per_class = {
        label: {
            "accuracy": float(confusion[i, i] / totals[i]) if totals[i] else None,
            "n": int(totals[i]),
        }
        for i, label in enumerate(labels)
    }
    return Score(correct / n if n else 0.0, wilson_interval(correct, n), n, per_class, confusion)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def pool_windows(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """A clip's probabilities from those of its windows: ``(windows, classes)`` → ``(classes,)``."""
    return np.asarray(softmax(logits).mean(axis=0))
