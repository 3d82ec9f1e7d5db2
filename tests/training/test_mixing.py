"""Mixing and resampling against one clip at a time, in float64."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gmme_edge.errors import UsageError
from gmme_edge.training.feed.mixing import (
    METHODS,
    Targets,
    mix,
    mix_frequency,
    mix_phase,
    mix_time,
    mix_up,
    resample_batch,
    stretch,
)
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe

RECIPE, RATE, N = Recipe(epochs=1), 16_000, 3000
PARTNER = torch.tensor([1, 0, 3, 2])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_clips(n_clips: int = 4, n_samples: int = N, seed: int = 0) -> Tensor:
    """Noise of levels from 0.01 to 1."""
    noise = torch.randn(n_clips, n_samples, generator=generator(seed), dtype=torch.float64)
    return noise * torch.logspace(-2, 0, n_clips, dtype=torch.float64)[:, None]


def run(clips: Tensor, seed: int = 0, rows: Rows | None = None) -> tuple[Tensor, Targets]:
    labels = torch.arange(len(clips))
    return mix(clips, labels, RECIPE, RATE, rows or Rows.all(len(clips)), generator(seed))


def seed_of(method: str) -> int:
    """A seed with which `mix` draws that method: it is the generator's first number."""
    wanted = METHODS.index(method)
    return next(s for s in range(99) if int(torch.randint(4, (), generator=generator(s))) == wanted)


def test_mix_up_is_the_references_formula() -> None:
    clips, lam = make_clips(), torch.tensor([1.0, 0.7, 0.4, 0.1], dtype=torch.float64)
    mixed, share = mix_up(clips, PARTNER, (1 - lam) / 0.9)
    for row, other in enumerate(PARTNER.tolist()):
        own_db, other_db = (
            10 * math.log10(max(float((clips[i] ** 2).mean()), 1e-5)) for i in (row, other)
        )
        weight = 1 - float(lam[row])
        p = 1 / (1 + 10 ** ((own_db - other_db) / 20) * weight / float(lam[row]))
        wanted = (clips[row] * p + clips[other] * (1 - p)) / math.sqrt(p**2 + (1 - p) ** 2)
        np.testing.assert_allclose(mixed[row], wanted, atol=1e-12)
        assert float(share[row]) == pytest.approx(1 - p, abs=1e-12)


def test_mix_up_keeps_the_energy_of_equally_loud_clips() -> None:
    clips = torch.randn(40, 20_000, generator=generator(), dtype=torch.float64)
    partner = torch.arange(40) ^ 1
    mixed, _ = mix_up(clips, partner, torch.rand(40, generator=generator()).double())
    assert float(mixed.square().mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("first", [True, False])
def test_mix_time_takes_one_end(first: bool) -> None:
    clips, drawn = make_clips(), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    mixed, share = mix_time(clips, PARTNER, drawn, torch.tensor([first] * 4))
    assert share.tolist() == [0, 0.125, 0.25, 0.5]
    for row, count in enumerate((0, 375, 750, 1500)):
        wanted = clips[row].clone()
        taken = slice(0, count) if first else slice(N - count, N)
        wanted[taken] = clips[PARTNER[row], taken]
        assert torch.equal(mixed[row], wanted)


def torch_stft(clip: Tensor, size: int) -> Tensor:
    """Of the clip with a frame's worth of zeros on both sides, where frames do not matter."""
    padded = torch.nn.functional.pad(clip, (2 * size, 2 * size))
    window = torch.hann_window(size, dtype=clip.dtype)
    return torch.stft(
        padded, size, size // 4, window=window, pad_mode="constant", return_complex=True
    )


def torch_istft(spectrum: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, dtype=torch.float64)
    padded = torch.istft(spectrum, size, size // 4, window=window, length=N + 4 * size)
    return padded[2 * size : 2 * size + N]


@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize("first", [True, False])
def test_mix_frequency_takes_bands_at_one_end(first: bool, size: int) -> None:
    clips, drawn = make_clips(), torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)
    mixed, share = mix_frequency(clips, drawn, torch.tensor([first] * 4), size)
    np.testing.assert_allclose(share, drawn / 2)
    for row, part in enumerate(share.tolist()):
        own, other = torch_stft(clips[row], size), torch_stft(clips[PARTNER[row]], size)
        count = int(part * len(own))
        taken = slice(0, count) if first else slice(len(own) - count, len(own))
        own[taken] = other[taken]
        np.testing.assert_allclose(mixed[row], torch_istft(own, size), atol=1e-10)


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_mix_phase_turns_the_shorter_way(size: int) -> None:
    clips, drawn = make_clips(), torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)
    mixed, share = mix_phase(clips, drawn, size)
    np.testing.assert_allclose(share, drawn / 2)
    for row, part in enumerate(drawn.tolist()):
        own, other = (torch_stft(clips[i], size).numpy() for i in (row, PARTNER[row]))
        way = (np.angle(other) - np.angle(own) + np.pi) % (2 * np.pi) - np.pi
        turned = np.abs(own) * np.exp(1j * (np.angle(own) + part * way))
        wanted = torch_istft(torch.from_numpy(turned), size)
        np.testing.assert_allclose(mixed[row], wanted, atol=1e-9)


def test_mix_phase_with_silence_changes_nothing() -> None:
    clips = make_clips()
    clips[1] = -torch.zeros(N)
    mixed, _ = mix_phase(clips, torch.ones(4, dtype=torch.float64), 256)
    np.testing.assert_allclose(mixed[:2], clips[:2], atol=1e-12)


def test_methods_and_shares_are_drawn_alike() -> None:
    """Each method in a quarter of 400 batches, limits of 5 standard errors."""
    silence = torch.zeros(8, 4)
    drawn = Counter(int(torch.randint(4, (), generator=generator(s))) for s in range(400))
    assert len(drawn) == 4 and abs(min(drawn.values()) - 100) < 5 * np.sqrt(75)
    limits = {"mixup": 0.9, "time": 0.5, "frequency": 0.5, "phase": 0.5}
    for method, limit in limits.items():
        seed = seed_of(method)
        share = run(silence.repeat(200, 1), seed)[1].share
        assert 0 <= share.min() < 0.01 and limit - 0.01 < share.max() <= limit
        assert float(share.double().mean()) == pytest.approx(limit / 2, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_partners_are_neighbours(method: str) -> None:
    clips = make_clips(7).float()
    before = clips.clone()
    mixed, targets = run(clips, seed_of(method))
    assert torch.equal(clips, before), "the input was written to"
    assert targets.first.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert targets.second.tolist() == [1, 0, 3, 2, 5, 4, 6]
    assert float(targets.share[6]) == 0
    np.testing.assert_allclose(mixed[6], clips[6], atol=1e-6)
    assert all(not torch.equal(mixed[i], clips[i]) for i in range(6))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("total", [8, 7])
def test_processes_share_a_batch(method: str, total: int) -> None:
    clips, seed = make_clips(total).float(), seed_of(method)
    whole, targets = run(clips, seed)
    for start, stop in ((0, 4), (4, total)):
        part, own = run(clips[start:stop], seed, Rows(total, start, stop))
        np.testing.assert_allclose(part, whole[start:stop], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(own.share, targets.share[start:stop], rtol=1e-6)
        assert (own.second + start).tolist() == targets.second[start:stop].tolist()


@pytest.mark.parametrize("rows", [Rows(8, 1, 5), Rows(8, 0, 3)])
def test_pairs_are_not_cut(rows: Rows) -> None:
    with pytest.raises(UsageError, match="pair"):
        run(make_clips(rows.stop - rows.start), 0, rows)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [1, 2, 5, 100])
def test_silence_and_short_clips_stay_finite(method: str, n_samples: int) -> None:
    for clips in (torch.zeros(6, n_samples), torch.full((6, n_samples), 1e-30)):
        mixed, targets = run(clips, seed_of(method))
        assert mixed.shape == clips.shape and mixed.isfinite().all()
        assert mixed.abs().max() <= 2e-30 and targets.share.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_double_precision_agrees(method: str) -> None:
    clips, seed = make_clips(6), seed_of(method)
    single, double = run(clips.float(), seed)[0], run(clips, seed)[0]
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    difference = (single - double).abs()
    assert difference.median() < 1e-6, "a phase difference near ±π may turn either way"
    assert method == "phase" or difference.max() < 1e-4


@settings(max_examples=25, deadline=None)
@given(st.integers(64, 3000), st.sampled_from(RECIPE.resample_factors))
def test_stretch_reads_the_same_wave_elsewhere(n_samples: int, factor: float) -> None:
    """A tone under a Gaussian, which has no frequency that the lower rate could not hold."""

    def wave(position: np.ndarray) -> np.ndarray:
        away = (position - n_samples / 2) / (n_samples / 16)
        return np.exp(-(away**2) / 2) * np.cos(0.6 * position)

    stretched = stretch(torch.from_numpy(wave(np.arange(n_samples)))[None], factor)[0]
    assert len(stretched) == round(n_samples * Fraction(str(factor)))
    np.testing.assert_allclose(stretched, wave(np.arange(len(stretched)) / factor), atol=1e-8)


def test_resample_batch_crops_or_pads() -> None:
    """Two of five results are shorter, two longer, half the calls change nothing."""
    clips = make_clips(3, 1000)
    unchanged, starts = 0, set()
    for seed in range(200):
        result = resample_batch(clips, RECIPE, generator(seed))
        assert result.shape == clips.shape
        if torch.equal(result, clips):
            unchanged += 1
            continue
        candidates = {factor: stretch(clips, factor) for factor in RECIPE.resample_factors}
        matches = [
            (factor, start)
            for factor, longer in candidates.items()
            for start in range(max(longer.shape[1] - 1000, 0) + 1)
            if torch.equal(longer[:, start : start + 1000], result[:, : min(longer.shape[1], 1000)])
        ]
        [(factor, start)] = matches
        assert not result[:, round(1000 * factor) :].any()
        starts.add((factor, start))
    assert abs(unchanged - 100) < 5 * np.sqrt(50)
    assert {factor for factor, _ in starts} == set(RECIPE.resample_factors)
    assert len({start for factor, start in starts if factor == 1.2}) > 5


def test_resampling_is_switched_off() -> None:
    clips = make_clips()
    always = replace(RECIPE, resample_probability=1.0)
    assert not torch.equal(resample_batch(clips, always, generator()), clips)
    off = (replace(always, augment=False), replace(always, resample_factors=()),
           replace(always, resample_probability=0.0))  # fmt: skip
    assert all(torch.equal(resample_batch(clips, r, generator()), clips) for r in off)


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_resampling_very_short_clips(n_samples: int) -> None:
    always = replace(RECIPE, resample_probability=1.0)
    for seed in range(20):
        result = resample_batch(make_clips(2, n_samples), always, generator(seed))
        assert result.shape == (2, n_samples) and result.isfinite().all()
