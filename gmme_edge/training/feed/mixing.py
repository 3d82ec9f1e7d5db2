"""Augmentations of a whole batch: resampling, and mixing each clip with its neighbour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.errors import UsageError
from gmme_edge.training.feed.spectra import istft, smooth_length, stft, stft_sizes
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe

METHODS = ("mixup", "time", "frequency", "phase")
_CACHED_SAMPLES = 1 << 18


@dataclass(frozen=True)
class Targets:
    """Labels of mixed clips, ``(B,)`` each: the clip's own, its partner's, the partner's share."""

    first: Tensor
    second: Tensor
    share: Tensor

    @classmethod
    def unmixed(cls, labels: Tensor) -> Targets:
        return cls(labels, labels, torch.zeros(len(labels), device=labels.device))

    def __getitem__(self, rows: slice) -> Targets:
        return Targets(self.first[rows], self.second[rows], self.share[rows])


def resample_batch(waveform: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """With `resample_probability`, stretch all clips by one of `resample_factors`.

    Shapes: ``(B, N)`` → same: of longer clips a random window, the same in each; zeros behind
    shorter ones.
    """
    chosen = float(torch.rand((), generator=generator)) < recipe.resample_probability
    u = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    if not (recipe.augment and chosen and recipe.resample_factors):
        return waveform
    n_samples = waveform.shape[1]
    factor = recipe.resample_factors[int(u[0] * len(recipe.resample_factors))]
    stretched = stretch(waveform, factor)
    start = int(u[1] * (max(stretched.shape[1] - n_samples, 0) + 1))
    window = stretched[:, start : start + n_samples]
    return F.pad(window, (0, n_samples - window.shape[1]))


def stretch(waveform: Tensor, factor: float) -> Tensor:
    """Resample ``(B, N)`` to ``(B, round(N · factor))``: the spectrum is cut or zero-padded.

    Zeros behind the clip make both lengths whole multiples and their FFTs fast.
    """
    ratio = Fraction(factor).limit_denominator(100)
    n_samples = waveform.shape[1]
    blocks = smooth_length(-(-n_samples // ratio.denominator))
    spectrum = torch.fft.rfft(waveform, n=blocks * ratio.denominator, norm="forward")
    longer: Tensor = torch.fft.irfft(spectrum, n=blocks * ratio.numerator, norm="forward")
    return longer[:, : max(round(n_samples * ratio), 1)]


def mix(
    waveform: Tensor,
    labels: Tensor,
    recipe: Recipe,
    sample_rate_hz: int,
    rows: Rows,
    generator: torch.Generator,
) -> tuple[Tensor, Targets]:
    """Mix each clip with its neighbour by one of `METHODS`, drawn for the whole batch.

    Shapes: ``(B, N)`` and labels ``(B,)``, the `rows` of the batch → same. Row 2k and row 2k + 1
    are each other's partners, with shares of their own; an odd last row stays as it is.

    Raises:
        UsageError: `rows` cut a pair in two.
    """
    if rows.start % 2 or (rows.stop % 2 and rows.stop < rows.total):
        raise UsageError(
            f"Rows {rows.start} to {rows.stop} of {rows.total} cut a pair of clips in two.",
            "an even number of clips per process.",
            "choose another batch size.",
        )
    method = METHODS[int(torch.randint(len(METHODS), (), generator=generator))]
    sizes = stft_sizes(recipe, sample_rate_hz)
    size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
    u = torch.rand(2, rows.total, generator=generator, dtype=torch.float64)
    drawn, first_part = rows.of(u[0]), rows.of(u[1] < 0.5).to(waveform.device)
    index = torch.arange(len(waveform)) ^ 1
    paired = index < len(waveform)
    partner = torch.where(paired, index, index ^ 1).to(waveform.device)
    drawn = torch.where(paired, drawn, 0.0).to(waveform)
    mixers = {
        "mixup": lambda: mix_up(waveform, partner, drawn),
        "time": lambda: mix_time(waveform, partner, drawn, first_part),
        "frequency": lambda: mix_frequency(waveform, drawn, first_part, size),
        "phase": lambda: mix_phase(waveform, drawn, size),
    }
    mixed, share = mixers[method]()
    return mixed, Targets(labels, labels[partner.to(labels.device)], share)


# Each of these takes waveforms ``(B, N)``, the row of each clip's partner (which the last two know
# to be the neighbour) and numbers from 0 to 1, ``(B,)``, where 0 leaves a clip as it is; it returns
# the mixed clips and the partners' shares.


def mix_up(waveform: Tensor, partner: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, weighted so that the partner is heard in its share, at unchanged energy.

    The share follows the root mean squares too (between-class learning, arXiv 1711.10282, in
    decibels of at least -50 instead of A-weighted).
    """
    rms = torch.linalg.vector_norm(waveform, dim=1) / math.sqrt(waveform.shape[1])
    rms = rms.clamp_min(math.sqrt(1e-5))
    other = 0.9 * drawn  # the partner's part, before levels are regarded
    own = rms[partner] * (1 - other) / (rms * other + rms[partner] * (1 - other))
    weights = torch.stack([own, 1 - own]) / torch.hypot(own, 1 - own)
    own_part = waveform * weights[0, :, None]
    return own_part.addcmul_(waveform[partner], weights[1, :, None]), 1 - own


def mix_time(
    waveform: Tensor, partner: Tensor, drawn: Tensor, first_part: Tensor
) -> tuple[Tensor, Tensor]:
    """Up to half of the clip, its first or its last part, is the partner's."""
    share = 0.5 * drawn
    taken = _end_part(waveform.shape[1], share, first_part)
    return torch.where(taken, waveform[partner], waveform), share


def mix_frequency(
    waveform: Tensor, drawn: Tensor, first_part: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Up to half of the STFT's bands, the lowest or the highest, are the partner's.

    What is added is those bands of the difference, which is the same for both of a pair but for
    its sign: one STFT serves both.
    """
    share, pairs, mixed = 0.5 * drawn, _pairs(waveform), waveform.clone()
    taken = _end_part(size // 2 + 1, share, first_part).to(waveform)
    bands = _pairs(taken.repeat_interleave(2, dim=1))  # of real and imaginary parts
    bands = bands * bands.new_tensor([1, -1])[:, None]
    for part in _blocks(pairs):
        spectrum = stft(pairs[part, 1] - pairs[part, 0], size)
        numbers = torch.view_as_real(spectrum).flatten(2)
        chosen = numbers[:, None] * bands[part, :, None]
        added = torch.view_as_complex(chosen.view(-1, *spectrum.shape[1:], 2))
        _pairs(mixed)[part] += _pairs(istft(added, waveform.shape[1]))
    return mixed, share


def mix_phase(waveform: Tensor, drawn: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The STFT keeps its magnitude; its phase turns the shorter way towards the partner's.

    Where the partner is silent it has no phase, and nothing turns. The way from one of a pair to
    the other is the way back, but for its sign.
    """
    pairs, mixed = _pairs(waveform), waveform.clone()
    parts = _pairs(drawn[:, None]) * drawn.new_tensor([1, -1])[:, None]
    for part in _blocks(pairs):
        spectrum = stft(pairs[part].flatten(0, 1), size)
        own, other = _pairs(spectrum).unbind(1)
        cross = own.conj_physical().mul_(other)
        way = torch.atan2(cross.imag + 0.0, cross.real + 0.0)  # -0 is not a phase of π
        angle = (way[:, None] * parts[part, :, :, None]).flatten(0, 1)
        spectrum *= torch.complex(angle.cos(), angle.sin())
        _pairs(mixed)[part] = _pairs(istft(spectrum, waveform.shape[1]))
    return mixed, 0.5 * drawn


def _pairs(rows: Tensor) -> Tensor:
    """Rows 2k and 2k + 1 beside each other, without an odd last one: ``(B // 2, 2, …)``, a view."""
    n_pairs = len(rows) // 2
    return rows[: 2 * n_pairs].view(n_pairs, 2, *rows.shape[1:])


def _blocks(pairs: Tensor) -> list[slice]:
    """All pairs on a GPU; on a CPU parts of them whose STFT stays in its cache."""
    n_pairs = len(pairs)
    step = n_pairs if pairs.is_cuda else -(-_CACHED_SAMPLES // (2 * pairs.shape[2]))
    return [slice(first, first + step) for first in range(0, n_pairs, max(step, 1))]


def _end_part(length: int, share: Tensor, first: Tensor) -> Tensor:
    """A mask ``(B, length)`` of the first or last ``share · length`` positions."""
    count = (share[:, None] * length).int()
    first = first[:, None]
    position = torch.arange(length, device=share.device, dtype=torch.int32)
    return (position < torch.where(first, count, length - count)) == first
