"""Augmentation of a batch of waveforms, on the device where the batch lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gmme_edge.training.feed.noise import add_noise, draw_noise
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe


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
        gain=gain,
        sign=sign,
        delay=shift.round().long(),
        fraction=shift - shift.round(),
        cycle=cycle,
        mask_start=mask_start,
        mask_length=mask_length,
        segment_start=segment_start,
        segment_length=segment_length,
        segment_gain=segment_gain,
        place=uniform(4).argsort(1),
    )


def apply_plan(waveform: Tensor, plan: Plan) -> Tensor:
    """All augmentations but the noise, as one cyclic shift and one product; ``(B, N)`` → same.

    Gain and polarity commute with everything. A shift that lets in zeros is a cyclic shift, then
    a mask on the samples that wrapped around. So in any order, what happens is a cyclic shift by
    the sum, and factors on three parts, each moved by the shifts that come after it: a random
    order per clip costs a few numbers per clip.
    """
    n_samples = waveform.shape[1]
    none = torch.zeros_like(plan.delay)
    moves = torch.stack([plan.delay, none, none, plan.cycle], dim=1)
    later = (plan.place[:, None] > plan.place[:, :, None]) * moves[:, None]
    gap = torch.where(plan.delay > 0, 0, n_samples + plan.delay)
    starts = torch.stack([gap, plan.mask_start, plan.segment_start], dim=1)
    starts = (starts + later.sum(2)[:, :3]) % n_samples  # the fourth is the cyclic shift
    rolled = _shifted(waveform, plan.fraction, plan.delay + plan.cycle)
    rolled *= (plan.gain * plan.sign).to(waveform)[:, None]
    silent = torch.zeros_like(plan.gain)
    lengths = (plan.delay.abs(), plan.mask_length, plan.segment_length)
    for start, length, factor in zip(
        starts.unbind(1), lengths, (silent, silent, plan.segment_gain), strict=True
    ):
        stop = start + length
        _scale_part(rolled, start, stop.clamp_max(n_samples), factor)
        _scale_part(rolled, torch.zeros_like(start), stop - n_samples, factor)  # around the end
    return rolled


def _scale_part(waveform: Tensor, start: Tensor, stop: Tensor, factor: Tensor) -> None:
    """Multiply each clip's samples from `start` to `stop` - 1, if any, by its `factor`: in place.

    Only a window as long as the longest part is visited: a tenth of a clip that lasts a second.
    """
    rows = (stop > start).nonzero()[:, 0]
    if not len(rows):
        return
    device, width = waveform.device, int((stop - start).max())
    first = start.clamp_max(waveform.shape[1] - width)
    begin, end, by = (v[rows].to(device)[:, None] for v in (start - first, stop - first, factor))
    offset = torch.arange(width, device=device)
    inside = (offset >= begin) & (offset < end)
    windows = waveform.unfold(1, width, 1)
    index = rows.to(device), first[rows].to(device)
    windows[index] = windows[index] * torch.where(inside, by.to(waveform.dtype), 1)


def _shifted(waveform: Tensor, fraction: Tensor, shift: Tensor) -> Tensor:
    """A copy, each row shifted cyclically: by a fraction of a sample, then by whole ones."""
    n_clips, n_samples = waveform.shape
    twice = waveform.new_empty(n_clips, 2, n_samples)
    twice[:, 0] = waveform
    rows = fraction.nonzero()[:, 0]
    if len(rows):
        index = rows.to(waveform.device)
        twice[index, 0] = _delayed(waveform[index], fraction[rows])
    twice[:, 1] = twice[:, 0]
    first = (-shift % n_samples).to(waveform.device)
    clip = torch.arange(n_clips, device=waveform.device)
    return twice.view(n_clips, -1).unfold(1, n_samples, 1)[clip, first]


def _delayed(waveform: Tensor, fraction: Tensor) -> Tensor:
    """Shifted cyclically by a fraction of a sample, through the spectrum."""
    n_samples = waveform.shape[1]
    spectrum = torch.fft.rfft(waveform)
    spectrum *= _phasors(-2 * torch.pi / n_samples * fraction, spectrum)
    y: Tensor = torch.fft.irfft(spectrum, n=n_samples)
    return y


def _phasors(angle: Tensor, like: Tensor) -> Tensor:
    """``exp(i · angle · k)`` for each bin k of `like`, ``(B, bins)``.

    As products of two short rows, since k = a · step + b: few sines, and exact ones.
    """
    n_bins = like.shape[1]
    step = math.isqrt(n_bins) + 1
    fine = angle[:, None] * torch.arange(step)
    coarse = angle[:, None] * step * torch.arange(-(-n_bins // step))
    b, a = (torch.complex(x.cos(), x.sin()).to(like) for x in (fine, coarse))
    return (a[:, :, None] * b[:, None]).flatten(1)[:, :n_bins]
