"""What a classifier says about a recording: ranked classes, and what each window contributed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, List, NamedTuple  # noqa: UP035

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError, shorten
from gmme_edge.pooling import pool_windows, voting


class Prediction(NamedTuple):
    """One class and its probability, 0 to 1. It unpacks: ``label, probability = prediction``."""

    label: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "probability": self.probability}


class Ranking(List[Prediction]):  # noqa: UP006 - evaluated, and Python 3.8 has no other
    """Classes, best first.

    Attributes:
        silent: no window reached the level of sound (`gmme_edge.audio.SOUND_DBFS`), so the
            classes say nothing about the world.
    """

    def __init__(self, predictions: Iterable[Prediction] = (), silent: bool = False) -> None:
        super().__init__(predictions)
        self.silent = silent


@dataclass(frozen=True, eq=False)
class Analysis:
    """A recording, window by window.

    Attributes:
        labels: class names in the order of `logits`.
        starts_s: where each window begins, in seconds; ``(windows,)``.
        window_s: how long each of them is.
        duration_s: the recording's length.
        sound_share: how much of each window reaches the level of sound, 0 to 1; ``(windows,)``.
        logits: ``(windows, n_classes)``.
        embeddings: ``(windows, embed_dim)``; None where the bundle has no such output.
        notes: what the decoder noticed, such as channels that cancel each other.
    """

    labels: tuple[str, ...]
    starts_s: NDArray[np.float64]
    window_s: float
    duration_s: float
    sound_share: NDArray[np.float64]
    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        return not bool(self.sound_share.any())

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of the whole: the mean of the windows that vote (`pool_windows`); ``(n_classes,)``."""
        return pool_windows(self.logits, self.sound_share)

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The mean of those of the same windows; ``(embed_dim,)``."""
        if self.embeddings is None:
            raise UsageError(
                "This bundle has no embedding output.", fix="export again without --no-embedding."
            )
        return np.asarray(self.embeddings[voting(self.sound_share)].mean(axis=0))

    def rank(self, top_k: int = 5) -> Ranking:
        """The `top_k` most probable classes of the whole."""
        return self._rank(self.probabilities, top_k, self.silent)

    def rank_window(self, i: int, top_k: int = 1) -> Ranking:
        """The same for window `i` alone."""
        n = len(self.starts_s)
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not 0 <= i < n:
            raise UsageError(f"There is no window {shorten(i)}.", f"0 to {n - 1}.")
        alone = slice(i, i + 1)
        return self._rank(pool_windows(self.logits[alone]), top_k, not self.sound_share[i])

    def _rank(self, probabilities: NDArray[np.float64], top_k: int, silent: bool) -> Ranking:
        if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
            raise UsageError(f"top_k is {shorten(top_k)}.", "a whole number, at least 1.")
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        found = (Prediction(self.labels[i], float(probabilities[i])) for i in best)
        return Ranking(found, silent)
