"""The noise that is added: how loud, of which spectrum, to which clips."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.training.feed.noise import KINDS, SLOPES, NoisePlan, add_noise, draw_noise
from gmme_edge.training.feed.spectra import istft, smooth_length, stft, stft_sizes
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe

RECIPE, RATE = Recipe(epochs=1, augment_probability=1.0), 16_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def added(kind: str, n_clips: int = 8, n_samples: int = 8192, hz: float = 40.0) -> np.ndarray:
    """What is added to clips of unit power at 30 dB, in float64."""
    clips = torch.randn(n_clips, n_samples, generator=generator(), dtype=torch.float64)
    clips /= clips.square().mean(1, keepdim=True).sqrt()
    same = torch.ones(n_clips, dtype=torch.float64)
    plan = NoisePlan((KINDS.index(kind) * same).long(), 30 * same, hz * same, 0.3 * same, 256, 5)
    return (add_noise(clips, plan, RATE, Rows.all(n_clips)) - clips).numpy()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 3000), st.integers(0, 2**31), st.floats(-10, 80), st.floats(0, 30),
    st.floats(1e-6, 100),
)  # fmt: skip
def test_power_is_the_drawn_ratio(
    n_samples: int, seed: int, low: float, spread: float, level: float
) -> None:
    recipe = replace(RECIPE, noise_snr_db=low, noise_snr_max_db=low + spread)
    clips = level * torch.randn(12, n_samples, generator=generator(seed), dtype=torch.float64)
    plan = draw_noise(recipe, RATE, 12, generator(seed))
    noise = (add_noise(clips, plan, RATE, Rows.all(12)) - clips).square().mean(1)
    silent = noise == 0  # the phase noise of a clip of two samples may turn nothing
    ratio = 10 * torch.log10(clips.square().mean(1) / noise)[~silent]
    assert n_samples < 8 or not silent.any()
    np.testing.assert_allclose(ratio, plan.snr_db[~silent], atol=1e-3)
    assert low <= plan.snr_db.min() and plan.snr_db.max() <= low + spread


@pytest.mark.parametrize(("kind", "slope"), SLOPES.items())
def test_colours_have_their_slopes(kind: str, slope: float) -> None:
    """Log power over log frequency, by least squares over 24 third-octave means."""
    power = (np.abs(np.fft.rfft(added(kind, 16))) ** 2).mean(axis=0)
    edges = np.geomspace(8, len(power) - 1, 25).astype(int)
    means = [power[a:b].mean() for a, b in pairwise(edges)]
    centres = np.sqrt(edges[:-1] * edges[1:])
    measured = np.polyfit(np.log(centres), np.log(means), 1)[0]
    assert measured == pytest.approx(slope, abs=0.06)


@pytest.mark.parametrize("kind", SLOPES)
def test_colours_have_no_mean_and_differ_by_clip(kind: str) -> None:
    noise = added(kind)
    assert abs(noise.mean(axis=1)).max() < 1e-12
    assert abs(np.corrcoef(noise) - np.eye(8)).max() < 0.9


def test_uniform_noise() -> None:
    noise = added("uniform")
    limit = math.sqrt(3) * 10 ** (-30 / 20)  # of a uniform distribution with that power
    counts = np.histogram(noise / limit, bins=10, range=(-1.02, 1.02))[0]
    assert abs(noise).max() < 1.02 * limit and counts[1:-1].std() < 0.03 * counts.mean()


def test_sine() -> None:
    time = np.arange(8192) / RATE
    wanted = np.sin(2 * np.pi * 40 * time + 0.3)
    wanted *= 10 ** (-30 / 20) / np.sqrt((wanted**2).mean())
    np.testing.assert_allclose(added("sine"), np.tile(wanted, (8, 1)), atol=1e-6)


def test_phase_noise_turns_phases_and_keeps_magnitudes() -> None:
    """A tone stays a tone of the same level, with noise beside it: not on the silent half."""
    clips = torch.zeros(1, 8192, dtype=torch.float64)
    clips[0, :4096] = torch.sin(2 * torch.pi * 1000 / RATE * torch.arange(4096))
    one = torch.ones(1, dtype=torch.float64)
    plan = NoisePlan(torch.tensor([KINDS.index("phase")]), 30 * one, one, one, 256, 5)
    noisy = add_noise(clips, plan, RATE, Rows.all(1))
    assert not noisy[0, 4096 + 256 :].any()
    before, after = stft(clips, 256).abs()[0, 4:60], stft(noisy, 256).abs()[0, 4:60]
    assert float((after.square().sum() / before.square().sum()).sqrt()) == pytest.approx(
        1, abs=0.01
    )
    loud = before > 0.1 * before.max()
    np.testing.assert_allclose(after[loud] / before[loud], 1, atol=0.1)


def test_kinds_are_drawn_alike() -> None:
    """8,000 clips, limits of 5 standard errors; sines from 0 (excluded) to 50 Hz."""
    plan = draw_noise(replace(RECIPE, augment_probability=0.5), RATE, 8000, generator())
    counts = Counter(plan.kind.tolist())
    assert abs(counts.pop(-1) - 4000) < 5 * np.sqrt(2000)
    assert sorted(counts) == list(range(8))
    assert max(abs(n - 500) for n in counts.values()) < 5 * np.sqrt(500)
    assert 0 < plan.hz.min() < 0.5 and 49.5 < plan.hz.max() <= 50
    assert 30 <= plan.snr_db.min() < 30.05 and 34.95 < plan.snr_db.max() <= 35


def test_clips_without_noise_are_untouched() -> None:
    clips = torch.randn(64, 1000, generator=generator())
    plan = draw_noise(replace(RECIPE, augment_probability=0.5), RATE, 64, generator())
    changed = (add_noise(clips, plan, RATE, Rows.all(64)) != clips).any(1)
    assert torch.equal(changed, plan.kind >= 0) and 0 < changed.sum() < 64


@pytest.mark.parametrize("n_samples", [1, 2, 3, 100])
def test_silence_and_short_clips_stay_finite(n_samples: int) -> None:
    for clips in (torch.zeros(64, n_samples), torch.full((64, n_samples), 1e-30)):
        plan = draw_noise(RECIPE, RATE, 64, generator())
        result = add_noise(clips, plan, RATE, Rows.all(64))
        assert result.isfinite().all() and result.abs().max() <= 10 * clips.max()


def test_processes_share_the_noise() -> None:
    clips = torch.randn(16, 2000, generator=generator())
    plan = draw_noise(RECIPE, RATE, 16, generator())
    whole = add_noise(clips, plan, RATE, Rows.all(16))
    parts = [
        add_noise(clips[a:b], plan, RATE, Rows(16, a, b)) for a, b in ((0, 2), (2, 10), (10, 16))
    ]
    np.testing.assert_allclose(torch.cat(parts), whole, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.sampled_from((4, 16, 256, 1024)), st.integers(0, 2**31))
def test_stft_is_inverted(n_samples: int, size: int, seed: int) -> None:
    clips = torch.randn(2, n_samples, generator=generator(seed), dtype=torch.float64)
    back = istft(stft(clips, size), n_samples)
    np.testing.assert_allclose(back, clips, atol=1e-12)


def test_stft_is_torchs() -> None:
    clips = torch.randn(2, 4096, generator=generator(), dtype=torch.float64)
    window = torch.hann_window(512, dtype=torch.float64) * math.sqrt(2 / 3)
    wanted = torch.stft(clips, 512, 128, window=window, return_complex=True, pad_mode="constant")
    np.testing.assert_allclose(stft(clips, 512)[:, 1:-1], wanted.mT, atol=1e-10)


@pytest.mark.parametrize(
    ("rate", "sizes"),
    [(22_050, (512, 1024, 2048)), (16_000, (256, 512, 1024)), (8000, (128, 256, 512)),
     (48_000, (1024, 2048, 4096)), (10, (4, 8, 16))],
)  # fmt: skip
def test_stft_sizes_are_the_references(rate: int, sizes: tuple[int, ...]) -> None:
    assert stft_sizes(RECIPE, rate) == sizes


def test_smooth_length() -> None:
    smooth = sorted(2**a * 3**b * 5**c for a in range(12) for b in range(8) for c in range(6))
    for n in range(1, 2000):
        assert smooth_length(n) == next(s for s in smooth if s >= n)
