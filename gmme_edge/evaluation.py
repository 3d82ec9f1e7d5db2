"""Score stored clips with any predictor: torch, ONNX Runtime or TensorRT (numpy only)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform, split_windows
from gmme_edge.data.store import WaveformStore
from gmme_edge.scoring import Predictions, Score, pool_windows, score

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
    levels: tuple[str, ...] = (),
) -> Score:
    """Compare the most probable class of each clip with its label; notes clips by name.

    Args:
        levels: each clip's stratum, to be noted; see `name_levels`.
    """
    probabilities = predict_store(predict, store, n_samples, on_progress=on_progress)
    predicted = probabilities.argmax(axis=1)
    names = np.array(labels)
    predictions = Predictions(
        clip_names(store.paths), tuple(names[store.labels].tolist()),
        tuple(names[predicted].tolist()), levels,
    )  # fmt: skip
    return replace(score(predicted, store.labels, labels), predictions=predictions)


def clip_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Paths relative to their common folder: the same names wherever a data set lies."""
    if not paths:
        return ()
    common = os.path.commonpath([path.absolute().parent for path in paths])
    names = (path.absolute().relative_to(common).as_posix() for path in paths)
    return tuple(name.encode(errors="backslashreplace").decode() for name in names)
