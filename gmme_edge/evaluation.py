"""Score stored clips with any predictor: torch, ONNX Runtime or TensorRT (numpy only)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform, split_windows
from gmme_edge.data.store import WaveformStore
from gmme_edge.scoring import Score, pool_windows, score

Predict = Callable[[Waveform], NDArray[np.float32]]


def predict_store(
    predict: Predict,
    store: WaveformStore,
    n_samples: int,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Class probabilities ``(n_clips, n_classes)``; a long clip's are the mean of its windows'.

    Args:
        predict: raw waveforms ``(B, n_samples)`` → logits ``(B, n_classes)``.
    """
    pooled: list[NDArray[np.float64]] = []
    for windows, counts in _window_batches(store, n_samples, batch_size):
        logits = predict(windows)
        ends = np.cumsum(counts)
        pooled += [pool_windows(part) for part in np.split(logits, ends[:-1])]
        if on_progress:
            on_progress(len(pooled), len(store))
    return np.stack(pooled)


def _window_batches(
    store: WaveformStore, n_samples: int, batch_size: int
) -> Iterator[tuple[Waveform, list[int]]]:
    """Windows of whole clips, about `batch_size` at a time, and how many each clip has."""
    windows: list[Waveform] = []
    for index in range(len(store)):
        windows.append(split_windows(store.waveform(index), n_samples))
        if sum(map(len, windows)) >= batch_size or index == len(store) - 1:
            yield np.concatenate(windows), [len(w) for w in windows]
            windows = []


def score_store(
    predict: Predict,
    store: WaveformStore,
    n_samples: int,
    labels: tuple[str, ...],
    on_progress: Callable[[int, int], None] | None = None,
) -> Score:
    probabilities = predict_store(predict, store, n_samples, on_progress=on_progress)
    return score(probabilities.argmax(axis=1), store.labels, labels)
