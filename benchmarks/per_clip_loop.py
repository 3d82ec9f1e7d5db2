"""The usual training feed, to measure ours against: one clip at a time, in a `DataLoader`.

Written as EAT's reference implementation is built: `__getitem__` crops a clip and augments it with
CPU tensors, in place where the reference does, one augmentation after the other in random order,
each with probability 0.5, then one noise; the batch is resampled and mixed on the device. In its
favour, spectra are real FFTs (the reference's are complex), the resampler is ours, and clips come
decoded from the memory that our feed reads too, unless files are given to decode each time, as the
reference does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gmme_edge.audio import Waveform
from gmme_edge.data.store import WaveformStore
from gmme_edge.training.feed.feed import Batch
from gmme_edge.training.feed.mixing import Targets, resample_batch
from gmme_edge.training.feed.noise import SLOPES
from gmme_edge.training.feed.spectra import stft_sizes
from gmme_edge.training.recipe import Recipe

Change = Callable[[Tensor], Tensor]


class Clips(Dataset[tuple[Tensor, int]]):
    """Augmented windows ``(n_samples,)`` of a store's clips, with their labels.

    Args:
        files: the clips as recordings, to be decoded each time.
    """

    def __init__(
        self, store: WaveformStore, n_samples: int, recipe: Recipe, sample_rate_hz: int,
        files: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self._store, self._n_samples, self._files = store, n_samples, files
        self._recipe, self._rate = recipe, sample_rate_hz
        self._sizes = stft_sizes(recipe, sample_rate_hz)
        self._changes: list[Change] = [
            self._gain, torch.neg_, self._shift, self._mask, self._segment_gain, self._cyclic_shift
        ]  # fmt: skip
        self._noises = [*SLOPES, "uniform", "phase", "sine"]

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x = torch.from_numpy(self._read(index))
        x = 0.95 * x / x.abs().max().clamp_min(1e-9)
        spare = len(x) - self._n_samples
        if spare > 0:
            start = random.randint(0, spare)
            x = x[start : start + self._n_samples]
        else:
            x = F.pad(x, (0, -spare))
        changes = random.sample(self._changes, len(self._changes))
        for change in changes:
            if self._chosen():
                x = change(x)
        if self._chosen():
            x = self._noisy(x, random.choice(self._noises))
        return x, int(self._store.labels[index])

    def _read(self, index: int) -> Waveform:
        if not self._files:
            return self._store.waveform(index)
        waveform: Waveform = soundfile.read(self._files[index], dtype="float32")[0]
        return waveform

    def _chosen(self) -> bool:
        return random.random() < self._recipe.augment_probability

    def _gain(self, x: Tensor) -> Tensor:
        return x.mul_(random.uniform(self._recipe.gain_low, self._recipe.gain_high))

    def _shift(self, x: Tensor) -> Tensor:
        limit = self._recipe.shift_s * self._rate
        whole, fraction = divmod(random.uniform(-limit, limit), 1)
        x = F.pad(x, (int(whole), -int(whole)))
        spectrum = torch.fft.rfft(x)
        angle = -2 * torch.pi * fraction / len(x) * torch.arange(len(spectrum))
        return torch.fft.irfft(spectrum * torch.exp(1j * angle), n=len(x))

    def _part(self, x: Tensor, seconds: float) -> slice:
        length = int(seconds * self._rate)
        start = random.randint(0, len(x) - length)
        return slice(start, start + length)

    def _mask(self, x: Tensor) -> Tensor:
        x[self._part(x, self._recipe.mask_s)] = 0
        return x

    def _segment_gain(self, x: Tensor) -> Tensor:
        recipe = self._recipe
        gain = random.uniform(recipe.segment_gain_low, recipe.segment_gain_high)
        x[self._part(x, recipe.segment_s)] *= gain
        return x

    def _cyclic_shift(self, x: Tensor) -> Tensor:
        return x.roll(random.randint(0, len(x) - 1))

    def _noisy(self, x: Tensor, kind: str) -> Tensor:
        """As the reference, which knows the power of all but the coloured noises beforehand."""
        if kind == "phase":
            spectrum, window = _stft(x, random.choice(self._sizes))
            spectrum.mul_(torch.exp(0.02j * torch.rand(spectrum.shape)))
            return _istft(spectrum, window, len(x))
        snr_db = random.uniform(self._recipe.noise_snr_db, self._recipe.noise_snr_max_db)
        level = x.square().mean().sqrt() * 10 ** (-snr_db / 20)
        if kind == "white":
            return x.add_(torch.randn_like(x).mul_(level))
        if kind == "uniform":
            level *= math.sqrt(3)
            return x.add_(torch.rand_like(x).mul_(2 * level).sub_(level))
        if kind == "sine":
            hz = random.uniform(0, self._recipe.noise_sine_hz)
            angle = 2 * torch.pi * hz / self._rate * torch.arange(len(x))
            sine = torch.sin(angle + random.uniform(0, 2 * torch.pi))
            return x.add_(math.sqrt(2) * level * sine)
        noise = _coloured(len(x), SLOPES[kind])
        return x.add_(noise.mul_(level / noise.std()))


def _coloured(n_samples: int, slope: float) -> Tensor:
    spectrum = torch.fft.rfft(torch.randn(n_samples))
    spectrum *= torch.arange(1, len(spectrum) + 1) ** (slope / 2)
    return torch.fft.irfft(spectrum, n=n_samples)


def _stft(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    window = torch.hann_window(size, device=x.device)
    return torch.stft(x, size, _hop(size), window=window, return_complex=True), window


def _istft(spectrum: Tensor, window: Tensor, n_samples: int) -> Tensor:
    size = len(window)
    return torch.istft(spectrum, size, _hop(size), window=window, length=n_samples)


def _hop(size: int) -> int:
    """The reference's: a quarter of the window, half of the longest at 22.05 kHz."""
    return size // 2 if size == 2048 else size // 4


class LoaderFeed:
    """Mixed batches for a `Trainer`, in place of its `Feed`."""

    def __init__(
        self, clips: Clips, recipe: Recipe, sizes: tuple[int, ...], batch_size: int, workers: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._recipe, self._sizes, self._device = recipe, sizes, device
        self._clips, self._batch_size = clips, batch_size
        self._chosen: list[list[int]] = []
        self._loader = DataLoader(
            clips, batch_sampler=self._chosen, num_workers=workers,
            persistent_workers=workers > 0, pin_memory=device.type == "cuda",
        )  # fmt: skip
        self._iterator: Iterator[list[Tensor]] = iter(())

    def start(self, n_batches: int) -> None:
        """Begin a block of so many batches: workers prepare these, and none ahead of the next."""
        self._chosen[:] = [
            random.choices(range(len(self._clips)), k=self._batch_size) for _ in range(n_batches)
        ]
        self._iterator = iter(self._loader)

    def batch(self, step: int) -> Batch:
        waveform, labels = next(self._iterator)
        waveform = waveform.to(self._device, non_blocking=True)
        labels = labels.to(self._device, non_blocking=True)
        seed = random.getrandbits(62)
        generator = torch.Generator().manual_seed(seed)
        waveform = resample_batch(waveform, self._recipe, generator)
        waveform, targets = self._mix(waveform, labels)
        return Batch(torch.tensor(self._chosen[0]), waveform, targets, True, seed)

    def _mix(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Targets]:
        partner = torch.randperm(len(x), device=x.device)
        share = torch.rand(len(x), device=x.device)
        method, size = random.randrange(4), random.choice(self._sizes)
        if method == 0:
            mixed, share = _mix_up(x, x[partner], share)
        elif method == 1:
            share = 0.5 * share
            mixed = _swap_ends(x, x[partner], share)
        elif method == 2:
            share = 0.5 * share
            spectrum, window = _stft(x, size)
            mixed = _istft(_swap_ends(spectrum, spectrum[partner], share), window, x.shape[1])
        else:
            spectrum, window = _stft(x, size)
            angle = spectrum.angle()
            turned = torch.lerp(angle, angle[partner], share[:, None, None])
            mixed = _istft(spectrum.abs() * torch.exp(1j * turned), window, x.shape[1])
            share = 0.5 * share
        return mixed, Targets(labels, labels[partner], share)


def _mix_up(x: Tensor, other: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    share = 0.9 * share[:, None]
    level, other_level = (y.square().mean(1, keepdim=True).clamp_min(1e-5) for y in (x, other))
    own = 1 / (1 + (level / other_level).sqrt() * share / (1 - share))
    return (x * own + other * (1 - own)) / (own**2 + (1 - own) ** 2).sqrt(), 1 - own[:, 0]


def _swap_ends(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """The first or the last part of axis 1 from `other`, row by row as the reference does."""
    x = x.clone()
    for row, count in enumerate((share * x.shape[1]).int().tolist()):
        part = slice(0, count) if random.random() < 0.5 else slice(x.shape[1] - count, None)
        x[row, part] = other[row, part]
    return x
