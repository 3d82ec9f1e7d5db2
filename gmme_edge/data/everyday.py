"""Imitations of everyday sounds, computed on the fly: something to hear before any download.

Crude on purpose and labelled as what they imitate; no recording went into them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform

_Sound = NDArray[np.float64]
_SECONDS = 5.0


def imitate(sample_rate_hz: int, seed: int = 0) -> dict[str, Waveform]:
    """Five seconds of each imitation, peak 0.5, by the name of what it imitates."""
    t = np.arange(int(_SECONDS * sample_rate_hz)) / sample_rate_hz
    sounds = {}
    for index, (name, make) in enumerate(_MAKERS.items()):
        sound = make(t, np.random.default_rng((seed, index)))
        sounds[name] = (0.5 * sound / np.abs(sound).max()).astype(np.float32)
    return sounds


def _noise(t: _Sound, low_hz: float, high_hz: float, rng: np.random.Generator) -> _Sound:
    """Noise between two frequencies, falling by 3 dB per octave, of deviation 1."""
    frequency = np.fft.rfftfreq(len(t), t[1])
    gain = np.where((low_hz <= frequency) & (frequency <= high_hz), 1.0, 0.0)
    gain[1:] /= np.sqrt(frequency[1:])
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(t))) * gain, len(t))
    return np.asarray(noise / noise.std())


def _strikes(t: _Sound, times_s: _Sound, decay_s: float, sound: _Sound) -> _Sound:
    """`sound` under an envelope that jumps to 1 at each time and decays."""
    strike = np.full(len(t), -np.inf)
    hit = (times_s / t[1]).astype(int)
    strike[hit] = t[hit]
    return np.asarray(sound * np.exp((np.maximum.accumulate(strike) - t) / decay_s))


def _rain(t: _Sound, rng: np.random.Generator) -> _Sound:
    drops = _strikes(t, rng.uniform(0, t[-1], 150), 0.003, _noise(t, 2000, 8000, rng))
    return _noise(t, 300, 10_000, rng) + 2 * drops


def _clock_tick(t: _Sound, rng: np.random.Generator) -> _Sound:
    ticks = _strikes(t, np.arange(0.2, t[-1], 0.5), 0.008, _noise(t, 1500, 6000, rng))
    return ticks + 0.002 * _noise(t, 50, 5000, rng)


def _helicopter(t: _Sound, rng: np.random.Generator) -> _Sound:
    blades = 0.2 + np.maximum(0, np.sin(2 * np.pi * 12 * t)) ** 3
    return blades * _noise(t, 40, 900, rng) + 0.1 * _noise(t, 900, 5000, rng)


def _sea_waves(t: _Sound, rng: np.random.Generator) -> _Sound:
    swell = 0.15 + np.sin(np.pi * t / _SECONDS) ** 4
    return swell * _noise(t, 100, 6000, rng)


def _crackling_fire(t: _Sound, rng: np.random.Generator) -> _Sound:
    hiss = _noise(t, 800, 9000, rng)
    loud, soft = (_strikes(t, rng.uniform(0, t[-1], n), 0.004, hiss) for n in (25, 250))
    return loud + 0.25 * soft + 0.05 * _noise(t, 60, 2000, rng)


_MAKERS: dict[str, Callable[[_Sound, np.random.Generator], _Sound]] = {
    "rain": _rain,
    "clock tick": _clock_tick,
    "helicopter": _helicopter,
    "sea waves": _sea_waves,
    "crackling fire": _crackling_fire,
}
