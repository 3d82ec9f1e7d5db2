"""Fixed-length windows of stored waveforms, gathered a batch at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gmme_edge.data.store import WaveformStore


class Batches:
    """Training windows: a random crop of longer clips, zeros behind shorter ones.

    One vectorized gather per batch: no per-clip Python.
    """

    def __init__(self, store: WaveformStore, n_samples: int) -> None:
        self._samples, self._n_samples = store.samples, n_samples
        self._starts = np.asarray(store.offsets[:-1], np.int64)
        self._lengths = np.diff(store.offsets)
        self.labels = torch.from_numpy(np.asarray(store.labels, np.int64))

    def __len__(self) -> int:
        return len(self._lengths)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The epoch's permutation; a function of seed and epoch alone, so a run can resume."""
        return torch.randperm(len(self), generator=generator_for(seed, epoch, stream=0))

    def take(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clips at `indices`: waveforms ``(B, n_samples)`` and labels ``(B,)``."""
        chosen = indices.numpy()
        lengths = self._lengths[chosen]
        spare = np.maximum(lengths - self._n_samples, 0)
        random = torch.rand(len(chosen), generator=generator, dtype=torch.float64).numpy()
        start = self._starts[chosen] + (random * (spare + 1)).astype(np.int64)
        within = np.arange(self._n_samples)
        inside = within < np.minimum(lengths, self._n_samples)[:, None]
        source = np.where(inside, start[:, None] + within, 0)
        waveform = np.where(inside, self._samples[source], np.float32(0))
        return torch.from_numpy(waveform.astype(np.float32)), self.labels[indices]


def generator_for(seed: int, index: int, stream: int) -> torch.Generator:
    """A generator that depends on (seed, index, stream) only, not on what ran before."""
    mixed = np.random.SeedSequence([seed, index, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
