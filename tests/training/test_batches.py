"""What the network is fed: windows of clips, and their augmentation, undone step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmme_edge.training.augment import augment
from gmme_edge.training.batches import Batches, generator_for
from tests.training.tiny_run import make_store

RATE = 1000  # a shift of up to 100 samples


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batches() -> Batches:
    """Clip i, of length 5, 8, 9, 30 or 1, counts up from 1000·(i + 1)."""
    waveforms = [1000 * (i + 1) + np.arange(n) for i, n in enumerate((5, 8, 9, 30, 1))]
    return Batches(make_store(waveforms, [0, 1, 2, 1, 0]), 8)


def test_take_is_a_crop_or_zero_padded(batches: Batches) -> None:
    lengths = (5, 8, 9, 30, 1)
    starts: dict[int, set[int]] = {i: set() for i in range(5)}
    for seed in range(200):
        indices = torch.tensor([3, 0, 4, 2, 1, 3])
        waveform, labels = batches.take(indices, generator(seed))
        assert waveform.dtype == torch.float32 and waveform.shape == (6, 8)
        assert labels.tolist() == [1, 0, 0, 2, 1, 1]
        for row, i in zip(waveform.tolist(), indices.tolist(), strict=True):
            start = int(row[0]) - 1000 * (i + 1)
            kept = [1000 * (i + 1) + start + k for k in range(min(8, lengths[i]))]
            assert start >= 0 and start + len(kept) <= lengths[i]
            assert row == kept + [0] * (8 - len(kept))
            starts[i].add(start)
    assert starts == {0: {0}, 1: {0}, 2: {0, 1}, 3: set(range(23)), 4: {0}}


def test_crops_are_uniform(batches: Batches) -> None:
    first = batches.take(torch.full((23_000,), 3), generator())[0][:, 0].numpy() - 4000
    counts = np.bincount(first.astype(int), minlength=23)
    assert len(counts) == 23 and abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_take_is_a_function_of_the_generator(batches: Batches) -> None:
    indices = torch.arange(5)
    first, again, other = (batches.take(indices, generator(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_store_is_not_written_to() -> None:
    store = make_store([np.ones(4), np.ones(4)], [0, 1])
    waveform, _ = Batches(store, 4).take(torch.arange(2), generator())
    waveform.zero_()
    assert store.samples.tolist() == [1] * 8


def test_order_is_a_permutation_of_seed_and_epoch(batches: Batches) -> None:
    store = make_store([np.ones(1)] * 50, [0] * 50)
    many = Batches(store, 8)
    orders = {(seed, epoch): many.order(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders.values())
    assert len({tuple(order.tolist()) for order in orders.values()}) == 9
    torch.manual_seed(5)  # the global generator has no part in it
    assert all(torch.equal(order, many.order(*key)) for key, order in orders.items())


def test_streams_are_independent() -> None:
    draws = {
        key: float(torch.rand(1, generator=generator_for(*key), dtype=torch.float64))
        for key in [(s, i, k) for s in (0, 1) for i in (0, 1, 2) for k in (0, 1, 2)]
    }
    assert len(set(draws.values())) == len(draws)


@pytest.fixture(scope="module")
def augmented() -> tuple[np.ndarray, np.ndarray]:
    """4,000 clips that count 1, 2, … 400, so that a value tells where it came from."""
    clips = torch.arange(1.0, 401.0).repeat(4000, 1)
    before = clips.clone()
    result = augment(clips, RATE, generator(3))
    assert torch.equal(clips, before), "the input was written to"
    assert result.shape == clips.shape and result.dtype == clips.dtype
    return before.double().numpy(), result.double().numpy()


def recover(row: np.ndarray) -> tuple[float, int]:
    """(gain with sign, shift) of an augmented 1, 2, … 400, from slope and first value."""
    inside = np.flatnonzero(row)
    factor = float(np.diff(row[inside]).mean())
    return factor, int(inside[0] - round(row[inside[0]] / factor) + 1)


def test_augmented_clips_are_gain_times_sign_times_shift(
    augmented: tuple[np.ndarray, np.ndarray],
) -> None:
    clips, result = augmented
    for clip, row in zip(clips[:500], result[:500], strict=True):
        factor, shift = recover(row)
        assert 0.5 <= abs(factor) <= 1.3 + 1e-6 and abs(shift) <= 100
        wanted = np.zeros(400)
        for i in range(400):
            if 0 <= i - shift < 400:
                wanted[i] = factor * clip[i - shift]
        np.testing.assert_allclose(row, wanted, rtol=1e-5, atol=1e-4)


def test_augmentations_are_drawn_as_published(augmented: tuple[np.ndarray, np.ndarray]) -> None:
    """Each with p = 0.5, independently; 4,000 clips, limits of 5 standard errors."""
    factors, shifts = np.array([recover(row) for row in augmented[1]]).T
    signs, gains = np.sign(factors), np.abs(factors)
    changed = np.array([signs < 0, abs(gains - 1) > 1e-4, shifts != 0])
    error = 5 * 0.5 / np.sqrt(4000)
    assert abs(changed[:2].mean(axis=1) - 0.5).max() < error
    assert abs(changed[2].mean() - 0.5 * 200 / 201) < error
    assert abs(np.corrcoef(changed) - np.eye(3)).max() < 5 / np.sqrt(4000)
    drawn = gains[changed[1]]
    assert drawn.mean() == pytest.approx(0.9, abs=5 * 0.8 / np.sqrt(12 * len(drawn)))
    assert drawn.min() < 0.51 and drawn.max() > 1.29
    moved = shifts[changed[2]]
    assert abs(moved.mean()) < 5 * 200 / np.sqrt(12 * len(moved))
    assert moved.min() < -97 and moved.max() > 97


def test_augment_is_a_function_of_the_generator() -> None:
    clips = torch.randn(16, 300, generator=generator())
    first, again, other = (augment(clips, RATE, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_augment_clips_shorter_than_the_shift() -> None:
    clips = torch.ones(64, 3)
    result = augment(clips, 48_000, generator())
    assert bool(result.isfinite().all()) and result.shape == clips.shape
    assert bool((result != 0).any(dim=1).all()), "a clip was shifted out altogether"
