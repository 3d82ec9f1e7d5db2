"""Sounds made on the fly: ten classes that differ in time and pitch, not in loudness.

For the demo, for latency studies and for tests: no download, any sample rate and length, and the
same samples for the same seed. Level, pitch, onset and background noise vary within each class.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform
from gmme_edge.data.store import WaveformStore, end_to_end
from gmme_edge.errors import UsageError

_Sound = NDArray[np.float64]
_Maker = Callable[[_Sound, float, np.random.Generator], _Sound]


def _sweep(t: _Sound, start_hz: float, end_hz: float) -> _Sound:
    phase = 2 * np.pi * np.cumsum(np.linspace(start_hz, end_hz, len(t))) * (t[1] - t[0])
    return np.asarray(np.sin(phase))


def _steady(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    weights = rng.uniform(0.2, 1.0, 4)
    parts = [w * np.sin(2 * np.pi * pitch_hz * (k + 1) * t) for k, w in enumerate(weights)]
    return np.asarray(sum(parts))


def _rising(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    return _sweep(t, pitch_hz, pitch_hz * rng.uniform(2.0, 4.0))


def _falling(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    return _sweep(t, pitch_hz * rng.uniform(2.0, 4.0), pitch_hz)


def _vibrato(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    rate_hz, depth = rng.uniform(5, 9), rng.uniform(6, 12)
    return np.asarray(np.sin(2 * np.pi * pitch_hz * t + depth * np.sin(2 * np.pi * rate_hz * t)))


def _tremolo(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    wobble = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(5, 9) * t)
    return _steady(t, pitch_hz, rng) * wobble


def _bell(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    partials = (1.0, 2.76, 5.4)
    return np.asarray(
        sum(
            np.sin(2 * np.pi * pitch_hz * p * t) * np.exp(-t * p * rng.uniform(3, 6))
            for p in partials
        )
    )


def _siren(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    high = np.floor(t * rng.uniform(4, 7)) % 2 == 1
    return np.where(high, np.sin(2 * np.pi * 1.5 * pitch_hz * t), np.sin(2 * np.pi * pitch_hz * t))


def _hiss(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    return rng.standard_normal(len(t))


def _clicks(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    since_click = (t * rng.uniform(8, 16)) % 1.0
    return rng.standard_normal(len(t)) * np.exp(-since_click * 25)


def _puffs(t: _Sound, pitch_hz: float, rng: np.random.Generator) -> _Sound:
    return rng.standard_normal(len(t)) * (np.sin(2 * np.pi * rng.uniform(3, 5) * t) > 0)


_MAKERS: dict[str, _Maker] = {
    "steady tone": _steady,
    "rising sweep": _rising,
    "falling sweep": _falling,
    "vibrato": _vibrato,
    "tremolo": _tremolo,
    "bell": _bell,
    "two-tone siren": _siren,
    "hiss": _hiss,
    "clicks": _clicks,
    "puffs": _puffs,
}
LABELS = tuple(_MAKERS)


def synthesize(label: str, sample_rate_hz: int, n_samples: int, seed: tuple[int, ...]) -> Waveform:
    """One sound of class `label`; shape ``(n_samples,)``, at least 64, peak 0.05 to 0.9."""
    if n_samples < 64:
        raise UsageError(f"A sound of {n_samples} samples.", "at least 64 samples.")
    rng = np.random.default_rng(seed)
    length = int(n_samples * rng.uniform(0.6, 1.0))
    t = np.arange(length) / sample_rate_hz
    highest_hz = sample_rate_hz / 24
    lowest_hz = min(200.0, highest_hz / 1.5)
    pitch_hz = float(np.exp(rng.uniform(np.log(lowest_hz), np.log(highest_hz))))
    sound = _MAKERS[label](t, pitch_hz, rng)
    edge = min(length // 20, 400)
    ramp = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / edge)
    mixed = np.zeros(n_samples)
    onset = int(rng.integers(0, n_samples - length + 1))
    mixed[onset : onset + length] = sound * ramp
    noise_db = rng.uniform(-40, -15)
    mixed += rng.standard_normal(n_samples) * np.std(mixed) * 10 ** (noise_db / 20)
    mixed *= np.exp(rng.uniform(np.log(0.05), np.log(0.9))) / np.abs(mixed).max()
    return mixed.astype(np.float32)


def make_synthetic(
    clips_per_class: int, sample_rate_hz: int, n_samples: int, seed: int = 0
) -> WaveformStore:
    """A balanced store of `LABELS`; clip i of a class depends on (seed, class, i) only."""
    waveforms = [
        synthesize(name, sample_rate_hz, n_samples, (seed, label, i))
        for i in range(clips_per_class)
        for label, name in enumerate(LABELS)
    ]
    count = len(waveforms)
    return WaveformStore(
        samples=np.concatenate(waveforms),
        bounds=end_to_end([n_samples] * count),
        labels=np.tile(np.arange(len(LABELS), dtype=np.int64), clips_per_class),
        paths=tuple(
            Path(f"synthetic/{LABELS[i % len(LABELS)]}/{i // len(LABELS)}") for i in range(count)
        ),
        silent=(),
        skipped=(),
    )
