"""Synthetic sounds: repeatable, told apart by what is in them and not by how loud they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.data.synthetic import LABELS, make_synthetic, synthesize
from gmme_edge.errors import UsageError

RATE, LENGTH, CLIPS = 8000, 8192, 40


@pytest.fixture(scope="module")
def sounds() -> tuple[np.ndarray, np.ndarray]:
    store = make_synthetic(CLIPS, RATE, LENGTH, seed=1)
    return store.samples.reshape(-1, LENGTH).astype(float), store.labels


def nearest_mean_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Learn class means on the first half of the clips, classify the second."""
    half = len(labels) // 2
    scaled = (features - features[:half].mean(axis=0)) / features[:half].std(axis=0)
    means = [scaled[:half][labels[:half] == c].mean(axis=0) for c in range(len(LABELS))]
    distances = ((scaled[half:, None] - np.array(means)) ** 2).sum(axis=2)
    return float((distances.argmin(axis=1) == labels[half:]).mean())


def describe(sound: np.ndarray) -> list[float]:
    """Six features of a spectrogram that a change of level leaves as they are."""
    frames = sound[: len(sound) // 256 * 256].reshape(-1, 256) * np.hanning(256)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    energy = power.sum(axis=1)
    active = np.flatnonzero(energy > 0.02 * energy.max())
    power, energy = power[active[0] : active[-1] + 1], energy[active[0] : active[-1] + 1]
    share = power / power.sum(axis=1, keepdims=True)
    pitch = np.log(share @ np.arange(share.shape[1]))
    time, weight = np.linspace(-1, 1, len(energy)), np.sqrt(energy)
    slope, level = np.polyfit(time, pitch, 1, w=weight)
    wander = np.average((pitch - slope * time - level) ** 2, weights=weight)
    envelope = np.log(energy / energy.max() + 1e-4)
    tonality = np.log(share.max(axis=1)).mean()
    change = np.abs(np.diff(envelope)).mean()
    return [slope, np.log(wander + 1e-6), tonality, envelope.mean(), envelope.std(), change]


def test_loudness_tells_nothing(sounds: tuple[np.ndarray, np.ndarray]) -> None:
    """Ten classes: chance is 10 %."""
    waveforms, labels = sounds
    rms = np.log(np.sqrt((waveforms**2).mean(axis=1)))[:, None]
    peak = np.log(np.abs(waveforms).max(axis=1))[:, None]
    assert nearest_mean_accuracy(rms, labels) < 0.35
    assert nearest_mean_accuracy(peak, labels) < 0.25
    ranges = [(rms[labels == c].min(), rms[labels == c].max()) for c in range(len(LABELS))]
    assert max(low for low, _ in ranges) < min(high for _, high in ranges), "they must overlap"


def test_spectrum_and_envelope_tell_the_class(sounds: tuple[np.ndarray, np.ndarray]) -> None:
    waveforms, labels = sounds
    assert nearest_mean_accuracy(np.array([describe(w) for w in waveforms]), labels) > 0.7


def test_store_is_balanced_and_named() -> None:
    store = make_synthetic(3, RATE, LENGTH)
    assert len(store) == len(store.paths) == 30 and len(LABELS) == len(set(LABELS)) == 10
    assert np.bincount(store.labels).tolist() == [3] * 10
    assert store.samples.dtype == np.float32 and not store.silent and not store.skipped
    for i, path in enumerate(store.paths):
        assert path.parts[1] == LABELS[store.labels[i]]
        assert store.waveform(i).shape == (LENGTH,)
    assert len(set(store.paths)) == 30


def test_clips_depend_on_seed_class_and_number_only() -> None:
    few, many = make_synthetic(2, RATE, 1024, seed=3), make_synthetic(4, RATE, 1024, seed=3)
    np.testing.assert_array_equal(few.samples, many.samples[: len(few.samples)])
    np.testing.assert_array_equal(few.waveform(13), synthesize(LABELS[3], RATE, 1024, (3, 3, 1)))
    other = make_synthetic(2, RATE, 1024, seed=4)
    everything = [s.waveform(i).tobytes() for s in (many, other) for i in range(len(s))]
    assert len(set(everything)) == 60


@settings(deadline=None)
@given(
    label=st.sampled_from(LABELS),
    rate_hz=st.integers(100, 192_000),
    n_samples=st.integers(64, 5000),
    seed=st.integers(0, 2**32),
)
def test_any_rate_and_length(label: str, rate_hz: int, n_samples: int, seed: int) -> None:
    sound = synthesize(label, rate_hz, n_samples, (seed,))
    assert sound.shape == (n_samples,) and sound.dtype == np.float32
    assert np.isfinite(sound).all() and 0.0499 < np.abs(sound).max() < 0.9001


@pytest.mark.parametrize("n_samples", [0, 1, 63])
def test_too_short_is_refused(n_samples: int) -> None:
    with pytest.raises(UsageError, match="at least 64"):
        synthesize("bell", RATE, n_samples, (0,))
