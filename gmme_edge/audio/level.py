"""Which stretches of audio hold sound: one stated level, for every part of the toolkit.

A network scales each window to its own peak, which makes the faintest hiss as loud as speech; so
the level is judged before. A stretch holds sound where its peak reaches `SOUND_DBFS`. That is 3.3
steps of 16-bit audio: dither and what codecs leave of digital silence stay below, and a
microphone's own noise is above.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SOUND_DBFS = -80.0
_SOUND = 10 ** (SOUND_DBFS / 20)
_FRAME_SAMPLES = 32
_FLOOR = 1e-12  # -240 dB, what digital silence counts as


def has_sound(waveforms: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Along the last axis; ``(n,)`` → ``()``, ``(windows, n)`` → ``(windows,)``."""
    return np.asarray(_peak(waveforms) >= _SOUND)


def sound_share(waveforms: NDArray[np.floating]) -> NDArray[np.float64]:
    """How much of each is sound, 0 to 1, in frames of 32 samples; the shapes of `has_sound`."""
    frames = np.arange(0, waveforms.shape[-1], _FRAME_SAMPLES)
    peaks = np.maximum.reduceat(np.abs(waveforms), frames, axis=-1)
    return np.asarray((peaks >= _SOUND).mean(axis=-1))


def peak_dbfs(waveforms: NDArray[np.floating]) -> NDArray[np.float64]:
    """The peak along the last axis in dB of full scale; digital silence is -240."""
    return np.asarray(20 * np.log10(np.maximum(_peak(waveforms), _FLOOR)))


def is_silent(waveform: NDArray[np.floating]) -> bool:
    """Digital silence: no sample reaches half a step of 16-bit audio (-96 dB of full scale)."""
    return bool(np.max(_peak(waveform), initial=0.0) < 0.5 / 32768)


def _peak(waveforms: NDArray[np.floating]) -> NDArray[np.float64]:
    """The largest magnitude along the last axis, without a copy of the waveforms."""
    high = waveforms.max(axis=-1, initial=0.0)
    low = waveforms.min(axis=-1, initial=0.0)
    return np.asarray(np.maximum(high, -low), np.float64)
