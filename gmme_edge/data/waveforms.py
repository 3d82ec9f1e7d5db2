"""Labelled waveforms, mostly parts of one memory map on disk."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform
from gmme_edge.errors import DatasetError

LITTLE_ENDIAN = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class WaveformStore:
    """Labelled waveforms of one sample rate.

    Attributes:
        samples: what all of them lie in, shape (total,), a read-only memory map.
        bounds: where each begins and ends in it, shape (n, 2); see `end_to_end`.
        labels: shape (n,).
        paths: the n recordings.
        silent: recordings that hold only silence; they are used all the same.
        skipped: recordings left out by `skip_bad`, each with the reason.
    """

    samples: NDArray[np.float32]
    bounds: NDArray[np.int64]
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    silent: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Of each recording, in samples; shape (n,)."""
        return self.bounds[:, 1] - self.bounds[:, 0]

    def waveform(self, i: int) -> Waveform:
        """Recording `i` as a copy of its own, shape (length,), which may be written to."""
        if not 0 <= i < len(self):
            raise IndexError(f"recording {i} of {len(self)}")
        return np.array(self.samples[slice(*self.bounds[i])])

    def read(self, start: int, end: int) -> Waveform:
        """A copy of ``samples[start:end]`` that leaves nothing of the map in memory.

        Pages of a map that were touched stay in the process's memory until they are handed back.
        """
        part = np.array(self.samples[start:end], np.float32)
        if isinstance(self.samples.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.samples.base.madvise(mmap.MADV_DONTNEED)
        return part

    def subset(self, paths: Collection[Path]) -> WaveformStore:
        """Those of the recordings that are among `paths`, in the same order; nothing is copied."""
        kept = [i for i, path in enumerate(self.paths) if path in paths]
        if not kept:
            raise DatasetError("There are no recordings in this part.", "at least one.")
        return WaveformStore(
            samples=self.samples,
            bounds=self.bounds[kept],
            labels=self.labels[kept],
            paths=tuple(self.paths[i] for i in kept),
            silent=tuple(path for path in self.silent if path in paths),
            skipped=tuple(entry for entry in self.skipped if entry[0] in paths),
        )


def end_to_end(lengths: Sequence[int]) -> NDArray[np.int64]:
    """`WaveformStore.bounds` of recordings of these `lengths`, each behind the one before."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.stack([ends - np.asarray(lengths, np.int64), ends], axis=1)
