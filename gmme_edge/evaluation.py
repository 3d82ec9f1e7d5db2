"""Score stored clips with any predictor: torch, ONNX Runtime or TensorRT (numpy only)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform, sound_share, stream_windows, window_starts
from gmme_edge.audio.windows import tame
from gmme_edge.data.store import WaveformStore
from gmme_edge.pooling import pool_windows
from gmme_edge.scoring import Predictions, Score, score

Predict = Callable[[Waveform], NDArray[np.float32]]

_BLOCK_SAMPLES = 1 << 18


def predict_store(
    predict: Predict,
    store: WaveformStore,
    n_samples: int,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Class probabilities ``(n_clips, n_classes)``; a long clip's are pooled over its windows.

    Memory holds `batch_size` windows, whatever the clips' lengths.

    Args:
        predict: raw waveforms ``(B, n_samples)`` → logits ``(B, n_classes)``.
    """
    counts = [len(window_starts(length, n_samples)) for length in store.lengths.tolist()]
    pooled: list[NDArray[np.float64]] = []
    waiting: list[tuple[NDArray[np.float32], NDArray[np.float64]]] = []  # of clips not yet whole
    for windows in _batches(store, n_samples, batch_size):
        waiting.append((predict(tame(windows)), sound_share(windows)))
        if sum(len(logits) for logits, _ in waiting) < counts[len(pooled)]:
            continue
        logits, shares = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
        while len(pooled) < len(store) and counts[len(pooled)] <= len(logits):
            n = counts[len(pooled)]
            pooled.append(pool_windows(logits[:n], shares[:n]))
            logits, shares = logits[n:], shares[n:]
        waiting = [(logits, shares)]
        if on_progress:
            on_progress(len(pooled), len(store))
    return np.stack(pooled)


def _batches(store: WaveformStore, n_samples: int, batch_size: int) -> Iterator[Waveform]:
    """The windows of all clips, `batch_size` at a time."""
    batch: list[Waveform] = []
    for i in range(len(store)):
        start, end = store.bounds[i].tolist()
        for window in stream_windows(_blocks(store, start, end), end - start, n_samples):
            batch.append(window)
            if len(batch) == batch_size:
                yield np.stack(batch)
                batch = []
    if batch:
        yield np.stack(batch)


def _blocks(store: WaveformStore, start: int, end: int) -> Iterator[Waveform]:
    for at in range(start, end, _BLOCK_SAMPLES):
        yield store.read(at, min(end, at + _BLOCK_SAMPLES))


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
        clips=clip_names(store.paths),
        true=tuple(names[store.labels].tolist()),
        predicted=tuple(names[predicted].tolist()),
        levels=levels,
    )
    return replace(score(predicted, store.labels, labels), predictions=predictions)


def clip_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Paths relative to their common folder: the same names wherever a data set lies."""
    if not paths:
        return ()
    common = os.path.commonpath([path.absolute().parent for path in paths])
    names = (path.absolute().relative_to(common).as_posix() for path in paths)
    return tuple(name.encode(errors="backslashreplace").decode() for name in names)
