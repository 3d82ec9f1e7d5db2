"""Augmentation of a batch of waveforms, on the device where the batch lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmme_edge.training.noise import add_noise, draw_noise
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.rows import Rows


@dataclass(frozen=True)
class Plan:
    """What happens to each clip; on the CPU, ``(B,)`` unless said otherwise.

    A clip for which an augmentation was not drawn has the value that changes nothing.

    Attributes:
        gain, sign: factors on the clip.
        delay, fraction: time shift in samples, its whole part and the rest (-0.5 … 0.5).
        cycle: cyclic shift in samples.
        mask_start, mask_length: the silenced part.
        segment_start, segment_length, segment_gain: the part with a gain of its own.
        place: ``(B, 4)``, in which order shift, mask, segment gain and cyclic shift come.
    """

    gain: Tensor
    sign: Tensor
    delay: Tensor
    fraction: Tensor
    cycle: Tensor
    mask_start: Tensor
    mask_length: Tensor
    segment_start: Tensor
    segment_length: Tensor
    segment_gain: Tensor
    place: Tensor


def augment(
    waveform: Tensor, recipe: Recipe, sample_rate_hz: int, rows: Rows, generator: torch.Generator
) -> Tensor:
    """EAT's per-clip augmentations, each with probability `augment_probability`, then one noise.

    Shapes: ``(B, N)``, the `rows` of the batch → same. All randomness is `generator`'s (on the
    CPU, so that a seed means the same on every device).
    """
    if not recipe.augment:
        return waveform
    plan = draw_plan(recipe, sample_rate_hz, waveform.shape[1], rows, generator)
    changed = apply_plan(waveform, plan)
    if not recipe.noise:
        return changed
    noise = draw_noise(recipe, sample_rate_hz, rows.total, generator)
    return add_noise(changed, noise, sample_rate_hz, rows)


def draw_plan(
    recipe: Recipe, sample_rate_hz: int, n_samples: int, rows: Rows, generator: torch.Generator
) -> Plan:
    """Draw every clip's augmentations; a shift or a part is at most half of the clip."""

    def uniform(*shape: int) -> Tensor:
        return rows.of(torch.rand(rows.total, *shape, generator=generator, dtype=torch.float64))

    def draw(low: float, high: float, off: float) -> Tensor:
        values, chosen = low + (high - low) * uniform(), uniform() < recipe.augment_probability
        return torch.where(chosen, values, off)

    def draw_part(seconds: float) -> tuple[Tensor, Tensor]:
        longest = min(round(seconds * sample_rate_hz), n_samples // 2)
        length = draw(longest, longest, 0.0).long()
        return (uniform() * (n_samples - length + 1)).long(), length

    gain = draw(recipe.gain_low, recipe.gain_high, 1.0)
    sign = draw(-1.0, -1.0, 1.0)
    limit = min(recipe.shift_s * sample_rate_hz, n_samples / 2)
    shift = draw(-limit, limit, 0.0)
    cycle = draw(0.0, n_samples, 0.0).long()
    mask_start, mask_length = draw_part(recipe.mask_s)
    segment_start, segment_length = draw_part(recipe.segment_s)
    segment_gain = (
        recipe.segment_gain_low + (recipe.segment_gain_high - recipe.segment_gain_low) * uniform()
    )
    return Plan(
        gain=gain, sign=sign, delay=shift.round().long(), fraction=shift - shift.round(),
        cycle=cycle, mask_start=mask_start, mask_length=mask_length, segment_start=segment_start,
        segment_length=segment_length, segment_gain=segment_gain, place=uniform(4).argsort(1),
    )  # fmt: skip


def apply_plan(waveform: Tensor, plan: Plan) -> Tensor:
    """All augmentations but the noise, as one cyclic shift and one product; ``(B, N)`` → same.

    Gain and polarity commute with everything. A shift that lets in zeros is a cyclic shift, then
    a mask on the samples that wrapped around. So in any order, what happens is a cyclic shift by
    the sum, and factors on three parts, each moved by the shifts that come after it: a random
    order per clip costs a few numbers per clip.
    """
    n_samples, device = waveform.shape[1], waveform.device
    none = torch.zeros_like(plan.delay)
    moves = torch.stack([plan.delay, none, none, plan.cycle], dim=1)
    later = (plan.place[:, None] > plan.place[:, :, None]) * moves[:, None]
    gap = torch.where(plan.delay > 0, 0, n_samples + plan.delay)
    starts = torch.stack([gap, plan.mask_start, plan.segment_start], dim=1)
    starts = (starts + later.sum(2)[:, :3]) % n_samples  # the fourth is the cyclic shift
    lengths = torch.stack([plan.delay.abs(), plan.mask_length, plan.segment_length], dim=1)

    whole = plan.gain * plan.sign
    silent = torch.zeros_like(whole)
    table = torch.stack([whole, *[silent] * 3, whole * plan.segment_gain, *[silent] * 3], dim=1)
    code = _parts_code(starts.to(device), lengths.to(device), n_samples)
    rolled = _rolled(_delayed(waveform, plan.fraction), plan.delay + plan.cycle)
    return rolled.mul_(table.to(waveform).gather(1, code))


def _parts_code(starts: Tensor, lengths: Tensor, n_samples: int) -> Tensor:
    """Which of three parts each sample lies in, as the sum of 1, 2 and 4; ``(B, N)``.

    Parts ``(B, 3)`` go on at 0 where they reach the end. Running sums of the steps at their ends
    take a third of the time of comparing every sample's position with them.
    """
    weights = torch.tensor([1, 2, 4], device=starts.device).expand_as(starts)
    ends = starts + lengths
    steps = weights.new_zeros(len(starts), n_samples + 1)
    steps.scatter_add_(1, starts, weights)
    steps.scatter_add_(1, ends.clamp_max(n_samples), -weights)
    steps[:, 0] += weights[0].sum()
    steps.scatter_add_(1, (ends - n_samples).clamp_min(0), -weights)
    return steps.cumsum(1)[:, :n_samples]


def _rolled(waveform: Tensor, shift: Tensor) -> Tensor:
    """A copy, each row shifted cyclically by its number of samples."""
    n_samples = waveform.shape[1]
    first = (-shift % n_samples).to(waveform.device)[:, None]
    source = torch.arange(n_samples, device=waveform.device) + first
    return torch.cat([waveform, waveform], dim=1).gather(1, source)


def _delayed(waveform: Tensor, fraction: Tensor) -> Tensor:
    """Shifted cyclically by a fraction of a sample, where there is one, through the spectrum."""
    rows = fraction.nonzero()[:, 0]
    if not len(rows):
        return waveform
    index, n_samples = rows.to(waveform.device), waveform.shape[1]
    spectrum = torch.fft.rfft(waveform[index])
    bins = torch.arange(spectrum.shape[1], device=waveform.device)
    angle = (-2 * torch.pi / n_samples) * fraction[rows].to(waveform)[:, None] * bins
    spectrum *= torch.complex(angle.cos(), angle.sin())
    return waveform.index_copy(0, index, torch.fft.irfft(spectrum, n=n_samples))
