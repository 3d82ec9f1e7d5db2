"""Fixed-length windows of stored waveforms, gathered a batch at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from gmme_edge.audio import Waveform
from gmme_edge.data.store import WaveformStore
from gmme_edge.training.feed.crops import TRIES, Crops
from gmme_edge.training.parallel.rows import Rows

# Of a GPU's free memory, what the waveforms may take; the rest is for the network.
_SHARE_OF_GPU = 0.25
_UPLOAD_SAMPLES = 1 << 24


class Batches:
    """Training windows: a random crop of longer clips (`Crops`), zeros behind shorter ones.

    One vectorized gather per batch: no per-clip Python. It is done on the GPU where the waveforms
    fit into a quarter of its free memory, else from the memory map into pinned memory.

    Args:
        resident: whether the waveforms are copied to `device`; by default if it is a GPU that
            has the room.
        crop_energy: `Recipe.crop_energy`.
    """

    def __init__(
        self,
        store: WaveformStore,
        n_samples: int,
        device: torch.device | str = "cpu",
        resident: bool | None = None,
        crop_energy: float = 0.0,
    ) -> None:
        self._samples, self._n_samples = store.samples, n_samples
        self.device = torch.device(device)
        self._lengths = store.lengths
        self._crops = Crops(store.samples, store.bounds, n_samples, crop_energy)
        # Windows that begin here or later reach beyond the store's end: they have zeros to spare.
        self._edge = max(len(store.samples) - n_samples, 0)
        self._tail = np.append(store.samples[self._edge :], np.zeros(n_samples, np.float32))
        self.labels = torch.from_numpy(np.asarray(store.labels, np.int64))
        if resident is None:
            resident = _fits(self.device, store.samples)
        self._resident = _upload(store.samples, n_samples, self.device) if resident else None

    def __len__(self) -> int:
        return len(self._lengths)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The epoch's permutation; a function of seed and epoch alone, so a run can resume."""
        return torch.randperm(len(self), generator=generator_for(seed, epoch, stream=0))

    def take(
        self, indices: Tensor, generator: torch.Generator, rows: Rows | None = None
    ) -> tuple[Tensor, Tensor]:
        """Clips at `indices`, of which this process takes `rows`.

        Waveforms ``(B, n_samples)`` and labels ``(B,)`` on the device. The crops are drawn for
        all `indices`, so that they do not depend on how the batch is shared.
        """
        random = torch.rand(len(indices), TRIES, generator=generator, dtype=torch.float64).numpy()
        own = slice(rows.start, rows.stop) if rows else slice(None)
        chosen = indices[own].numpy()
        lengths = self._lengths[chosen]
        waveform = self._gather(self._crops.starts(chosen, random[own]))
        shortest = int(lengths.min())
        if shortest < self._n_samples:
            place = torch.arange(shortest, self._n_samples, device=self.device)
            waveform[:, shortest:].masked_fill_(place >= self._to_device(lengths)[:, None], 0)
        return waveform, self._to_device(self.labels[indices[own]].numpy())

    def _gather(self, start: np.ndarray) -> Tensor:
        """The `n_samples` from each `start` on, whatever clip they belong to."""
        if self._resident is not None:
            return self._resident.unfold(0, self._n_samples, 1)[self._to_device(start)]
        late = start >= self._edge
        if late.all():
            windows = sliding_window_view(self._tail, self._n_samples)[start - self._edge]
        else:
            whole = sliding_window_view(self._samples, self._n_samples)
            windows = whole[np.where(late, 0, start)]
            tail = sliding_window_view(self._tail, self._n_samples)
            windows[late] = tail[start[late] - self._edge]
        waveform = torch.from_numpy(windows.astype(np.float32, copy=False))
        if self.device.type == "cuda":
            return waveform.pin_memory().to(self.device, non_blocking=True)
        return waveform

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)


def _fits(device: torch.device, samples: Waveform) -> bool:
    if device.type != "cuda":  # the memory map is in memory already, as far as it fits
        return False
    return samples.nbytes <= _SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]


def _upload(samples: Waveform, n_spare: int, device: torch.device) -> Tensor:
    """All samples and `n_spare` zeros; in parts, as the memory map may not fit into memory."""
    resident = torch.zeros(len(samples) + n_spare, device=device)
    for first in range(0, len(samples), _UPLOAD_SAMPLES):
        part = np.array(samples[first : first + _UPLOAD_SAMPLES], np.float32)
        resident[first : first + len(part)] = torch.from_numpy(part)
    return resident


def generator_for(seed: int, index: int, stream: int) -> torch.Generator:
    """A generator that depends on (seed, index, stream) only, not on what ran before."""
    mixed = np.random.SeedSequence([seed, index, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
