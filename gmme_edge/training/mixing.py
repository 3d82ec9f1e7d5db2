"""Augmentations of a whole batch: resampling, and mixing each clip with its neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.errors import UsageError
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.rows import Rows
from gmme_edge.training.spectra import istft, smooth_length, stft, stft_sizes

METHODS = ("mixup", "time", "frequency", "phase")


@dataclass(frozen=True)
class Targets:
    """Labels of mixed clips, ``(B,)`` each: the clip's own, its partner's, the partner's share."""

    first: Tensor
    second: Tensor
    share: Tensor

    @classmethod
    def unmixed(cls, labels: Tensor) -> Targets:
        return cls(labels, labels, torch.zeros(len(labels), device=labels.device))


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
    waveform: Tensor, labels: Tensor, recipe: Recipe, sample_rate_hz: int, rows: Rows,
    generator: torch.Generator,
) -> tuple[Tensor, Targets]:  # fmt: skip
    """Mix each clip with its neighbour by one of `METHODS`, drawn for the whole batch.

    Shapes: ``(B, N)`` and labels ``(B,)``, the `rows` of the batch → same. Row 2k and row 2k + 1
    are each other's partners, with shares of their own; an odd last row stays as it is.

    Raises:
        UsageError: `rows` cut a pair in two.
    """
    if rows.start % 2 or (rows.stop % 2 and rows.stop < rows.total):
        raise UsageError(
            f"Rows {rows.start} to {rows.stop} of {rows.total} cut a pair of clips in two.",
            "an even number of clips per process.", "choose another batch size.",
        )  # fmt: skip
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
        "frequency": lambda: mix_frequency(waveform, partner, drawn, first_part, size),
        "phase": lambda: mix_phase(waveform, partner, drawn, size),
    }
    mixed, share = mixers[method]()
    return mixed, Targets(labels, labels[partner.to(labels.device)], share)


# Each of these takes waveforms ``(B, N)``, the row of each clip's partner and numbers from 0 to 1,
# ``(B,)``, where 0 leaves a clip as it is; it returns the mixed clips and the partners' shares.


def mix_up(waveform: Tensor, partner: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, weighted so that the partner is heard in its share, at unchanged energy.

    The share follows the root mean squares too (between-class learning, arXiv 1711.10282, in
    decibels of at least -50 instead of A-weighted).
    """
    rms = waveform.square().mean(1).clamp_min(1e-5).sqrt()
    other = 0.9 * drawn  # the partner's part, before levels are regarded
    own = rms[partner] * (1 - other) / (rms * other + rms[partner] * (1 - other))
    weights = torch.stack([own, 1 - own]) / torch.hypot(own, 1 - own)
    return waveform * weights[0, :, None] + waveform[partner] * weights[1, :, None], 1 - own


def mix_time(
    waveform: Tensor, partner: Tensor, drawn: Tensor, first_part: Tensor
) -> tuple[Tensor, Tensor]:
    """Up to half of the clip, its first or its last part, is the partner's."""
    share = 0.5 * drawn
    taken = _end_part(waveform.shape[1], share, first_part)
    return torch.where(taken, waveform[partner], waveform), share


def mix_frequency(
    waveform: Tensor, partner: Tensor, drawn: Tensor, first_part: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Up to half of the STFT's bands, the lowest or the highest, are the partner's."""
    share, spectrum = 0.5 * drawn, stft(waveform, size)
    taken = _end_part(spectrum.shape[2], share, first_part)[:, None]
    return istft(torch.where(taken, spectrum[partner], spectrum), waveform.shape[1]), share


def mix_phase(waveform: Tensor, partner: Tensor, drawn: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The STFT keeps its magnitude; its phase turns the shorter way towards the partner's.

    Where the partner is silent it has no phase, and nothing turns.
    """
    spectrum = stft(waveform, size)
    cross = spectrum[partner] * spectrum.conj()
    angle = torch.where(cross == 0, 0, cross.angle()) * drawn[:, None, None]
    turned = spectrum * torch.complex(angle.cos(), angle.sin())
    return istft(turned, waveform.shape[1]), 0.5 * drawn


def _end_part(length: int, share: Tensor, first: Tensor) -> Tensor:
    """A mask ``(B, length)`` of the first or last ``share · length`` positions."""
    count = (share[:, None] * length).long()
    position = torch.arange(length, device=share.device)
    return torch.where(first[:, None], position < count, position >= length - count)
