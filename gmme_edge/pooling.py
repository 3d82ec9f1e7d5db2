"""From the logits of windows to the probabilities of a recording (numpy only)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_SHARE = 0.1  # of the sound of the window with the most


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def pool_windows(
    logits: NDArray[np.floating], sound_share: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """A clip's probabilities from those of its windows: ``(windows, classes)`` → ``(classes,)``.

    A window votes where it holds at least a tenth as much sound as the window with the most. So
    pauses do not vote, nor does the last moment of a sound at a window's edge; where no window
    holds sound, all vote. This is the only such rule: the runtime, the commands and whatever judges
    a precision pool by it.

    Args:
        sound_share: how much of each window is sound; see `gmme_edge.audio.sound_share`.
    """
    if sound_share is not None:
        logits = logits[voting(sound_share)]
    return np.asarray(softmax(logits).mean(axis=0))


def voting(sound_share: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which windows `pool_windows` hears; ``(windows,)`` → ``(windows,)``."""
    return np.asarray(sound_share >= _LEAST_SHARE * sound_share.max())
