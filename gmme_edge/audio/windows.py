"""What a network sees of a waveform: windows of its own length, cut from a whole or a stream.

A waveform shorter than a window is zero-padded at its end. A longer one becomes the fewest equally
spaced windows that cover it, the first at its start and the last at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio.samples import Waveform

_LOUD = 2.0**20  # windows with such peaks are scaled, lest the network's own scaling underflow


def window_starts(length: int, n_samples: int) -> NDArray[np.int64]:
    """Where the windows of a waveform of `length` samples begin; shape ``(windows,)``."""
    count = max(1, -(-length // n_samples))
    starts: NDArray[np.int64] = (
        np.linspace(0, max(0, length - n_samples), count).round().astype(np.int64)
    )
    return starts


def split_windows(waveform: Waveform, n_samples: int) -> Waveform:
    """The windows of a whole waveform; ``(n,)`` → ``(windows, n_samples)``."""
    return np.stack(list(stream_windows([waveform], len(waveform), n_samples)))


def stream_windows(blocks: Iterable[Waveform], length: int, n_samples: int) -> Iterator[Waveform]:
    """The same windows ``(n_samples,)``, one by one; holds a window and a block in memory.

    Args:
        blocks: the waveform in pieces of any size.
        length: its number of samples; missing ones count as zeros, further ones are not heard.
    """
    arriving = iter(blocks)
    held, first = np.zeros(0, np.float32), 0  # `held` begins at sample `first`
    for start in window_starts(length, n_samples).tolist():
        held, first = held[start - first :], start
        parts, have = [held], len(held)
        while have < n_samples and (block := next(arriving, None)) is not None:
            parts.append(block)
            have += len(block)
        held = np.concatenate(parts) if len(parts) > 1 else held
        window = np.zeros(n_samples, np.float32)
        heard = held[: min(n_samples, length - start)]
        window[: len(heard)] = heard
        yield window


def tame(windows: Waveform) -> Waveform:
    """Windows whose peaks no recording has (above 2^20), scaled to a peak of 1; others as given."""
    peaks = np.maximum(windows.max(axis=-1), -windows.min(axis=-1))
    if not (peaks > _LOUD).any():
        return windows
    scale = np.where(peaks > _LOUD, peaks, 1).astype(np.float64)
    scaled: Waveform = (windows / scale[..., None]).astype(np.float32)
    return scaled
