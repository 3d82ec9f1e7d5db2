"""Labelled waveforms end to end, mostly in a memory map on disk."""

from __future__ import annotations

import mmap
import tempfile
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
        samples: all waveforms end to end, shape (total,), a read-only memory map.
        offsets: where each begins, and the end of the last; shape (n + 1,).
        labels: shape (n,).
        paths: the n recordings.
        silent: recordings that hold only silence; they are used all the same.
        skipped: recordings left out by `skip_bad`, each with the reason.
    """

    samples: NDArray[np.float32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    silent: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]

    def __len__(self) -> int:
        return len(self.labels)

    def waveform(self, i: int) -> Waveform:
        """Recording `i` as a copy of its own, shape (length,), which may be written to."""
        if not 0 <= i < len(self):
            raise IndexError(f"recording {i} of {len(self)}")
        return np.array(self.samples[self.offsets[i] : self.offsets[i + 1]])

    def read(self, start: int, end: int) -> Waveform:
        """A copy of ``samples[start:end]`` that leaves nothing of the map in memory.

        Pages of a map that were touched stay in the process's memory until they are handed back.
        """
        part = np.array(self.samples[start:end], np.float32)
        if isinstance(self.samples.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.samples.base.madvise(mmap.MADV_DONTNEED)
        return part

    def subset(self, paths: Collection[Path]) -> WaveformStore:
        """Those of the recordings that are among `paths`, in the same order.

        Of a memory map the part is one too, of a nameless file beside it: it takes no memory
        that the system cannot take back.
        """
        kept = [i for i, path in enumerate(self.paths) if path in paths]
        if not kept:
            raise DatasetError("There are no recordings in this part.", "at least one.")
        waveforms = [self.samples[self.offsets[i] : self.offsets[i + 1]] for i in kept]
        return WaveformStore(
            samples=_join(waveforms, self.samples),
            offsets=np.cumsum([0, *map(len, waveforms)]).astype(np.int64),
            labels=self.labels[kept],
            paths=tuple(self.paths[i] for i in kept),
            silent=tuple(path for path in self.silent if path in paths),
            skipped=tuple(entry for entry in self.skipped if entry[0] in paths),
        )


def _join(waveforms: Sequence[Waveform], source: Waveform) -> Waveform:
    """All `waveforms` end to end, where `source` lies: in memory or on its disk."""
    name = getattr(source, "filename", None)
    if name is None:
        return np.concatenate(waveforms)
    folder = next(path for path in Path(name).parents if path.is_dir())
    with tempfile.TemporaryFile(dir=folder) as file:
        for waveform in waveforms:
            file.write(np.ascontiguousarray(waveform).data)
        file.flush()
        return np.memmap(file, dtype=LITTLE_ENDIAN, mode="r")
