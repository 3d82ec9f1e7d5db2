"""What the network is fed: windows of clips, each once per epoch in a random order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmme_edge.training.feed.batches import Batches, generator_for
from gmme_edge.training.parallel.rows import Rows
from tests.training.tiny_run import make_store


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


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("n_samples", [1, 8, 20, 53, 60])
def test_gather_is_slicing(n_samples: int, resident: bool) -> None:
    """Windows as long as the whole store and longer; one copy of the waveforms or the map."""
    waveforms = [1000.0 * (i + 1) + np.arange(n) for i, n in enumerate((5, 8, 9, 30, 1))]
    batches = Batches(make_store(waveforms, [0] * 5), n_samples, resident=resident)
    indices = torch.tensor([4, 0, 3, 1, 2, 4])
    rows, _ = batches.take(indices, generator())
    for row, i in zip(rows.numpy(), indices.tolist(), strict=True):
        clip = waveforms[i].astype(np.float32)
        first = int(np.flatnonzero(clip == row[0])[0])
        part = clip[first : first + n_samples]
        assert len(part) == min(n_samples, len(clip))
        np.testing.assert_array_equal(row, np.pad(part, (0, n_samples - len(part))))


@pytest.mark.parametrize("resident", [False, True])
def test_processes_share_a_batch(resident: bool) -> None:
    waveforms = [1000 * (i + 1) + np.arange(n) for i, n in enumerate((5, 8, 9, 30, 1))]
    store = make_store(waveforms, [0, 1, 2, 1, 0])
    indices = torch.tensor([3, 0, 3, 2, 1, 3, 4, 3])
    whole = Batches(store, 8).take(indices, generator())
    batches = Batches(store, 8, resident=resident)
    parts = [batches.take(indices, generator(), Rows(8, r, r + 2)) for r in (0, 2, 4, 6)]
    for k in (0, 1):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])
