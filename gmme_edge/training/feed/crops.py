"""Where the training windows of long clips begin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform

TRIES = 8

_BLOCK = 256
_CHUNK_BLOCKS = 1 << 16


class Crops:
    """Random windows, where possible with a fair part of their clip's energy.

    Field recordings of short events are mostly silence: half of a clip with one bark in it is as a
    rule no bark. Of eight windows drawn, the first whose share of the clip's energy is at least
    `min_energy` times its share of the clip's length is taken, else the one with most energy.

    Args:
        min_energy: 0 takes the first window, as the EAT reference does.
    """

    def __init__(
        self, samples: Waveform, bounds: NDArray[np.int64], n_samples: int, min_energy: float
    ) -> None:
        self._starts, self._lengths = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        self._n_samples, self._min_energy = n_samples, min_energy
        long_clips = bool((self._lengths > n_samples).any())
        self._energy = _energy(samples) if min_energy and long_clips else None

    def starts(self, clips: NDArray[np.int64], random: NDArray[np.float64]) -> NDArray[np.int64]:
        """First samples of the windows of `clips`, ``(B,)``; `random` is uniform, ``(B, 8)``."""
        first, lengths = self._starts[clips], self._lengths[clips]
        spare = np.maximum(lengths - self._n_samples, 0)
        tries: NDArray[np.int64] = first[:, None] + (random * (spare + 1)[:, None]).astype(np.int64)
        if self._energy is None:
            return tries[:, 0]
        energy = self._between(tries, tries + self._n_samples)
        whole = self._between(first, first + lengths)
        wanted = self._min_energy * whole * np.minimum(self._n_samples / lengths, 1)
        enough = energy >= wanted[:, None]
        best = np.where(enough.any(axis=1), enough.argmax(axis=1), energy.argmax(axis=1))
        chosen: NDArray[np.int64] = tries[np.arange(len(tries)), best]
        return chosen

    def _between(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self._energy is not None
        last = len(self._energy) - 1
        ends = np.minimum(stop // _BLOCK, last)
        values: NDArray[np.float64] = self._energy[ends] - self._energy[start // _BLOCK]
        return values


def _energy(samples: Waveform) -> NDArray[np.float64]:
    """Energy before each block of 256 samples; read in parts, as it may be a memory map."""
    n_blocks = len(samples) // _BLOCK
    energy = np.zeros(n_blocks + 1)
    for first in range(0, n_blocks, _CHUNK_BLOCKS):
        last = min(first + _CHUNK_BLOCKS, n_blocks)
        blocks = samples[first * _BLOCK : last * _BLOCK].reshape(-1, _BLOCK)
        energy[first + 1 : last + 1] = np.einsum("bs,bs->b", blocks, blocks, dtype=np.float64)
    return energy.cumsum()
