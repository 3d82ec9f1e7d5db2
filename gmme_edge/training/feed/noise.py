"""Noise for a batch of waveforms: one kind per clip, at a drawn signal-to-noise ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gmme_edge.training.feed.spectra import istft, stft, stft_sizes
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe

# Power density grows as frequency to this power.
SLOPES = {"white": 0.0, "blue": 1.0, "pink": -1.0, "red": -2.0, "violet": 2.0}
KINDS = (*SLOPES, "uniform", "phase", "sine")


@dataclass(frozen=True)
class NoisePlan:
    """Each clip's noise; ``(B,)`` on the CPU, for the whole batch.

    Attributes:
        kind: index into `KINDS`, or -1.
        snr_db: the clip's power over the noise's.
        hz, phase: of the sine.
        stft_size: of the phase noise.
        seed: of the noise's samples.
    """

    kind: Tensor
    snr_db: Tensor
    hz: Tensor
    phase: Tensor
    stft_size: int
    seed: int


def draw_noise(
    recipe: Recipe, sample_rate_hz: int, n_clips: int, generator: torch.Generator
) -> NoisePlan:
    """One of `KINDS` per clip, with probability `augment_probability`."""
    u = torch.rand(n_clips, 4, generator=generator, dtype=torch.float64)
    chosen = torch.rand(n_clips, generator=generator) < recipe.augment_probability
    sizes = stft_sizes(recipe, sample_rate_hz)
    return NoisePlan(
        kind=torch.where(chosen, (u[:, 0] * len(KINDS)).long(), -1),
        snr_db=recipe.noise_snr_db + u[:, 1] * (recipe.noise_snr_max_db - recipe.noise_snr_db),
        hz=recipe.noise_sine_hz * (1 - u[:, 2]),
        phase=2 * math.pi * u[:, 3],
        stft_size=sizes[int(torch.randint(len(sizes), (), generator=generator))],
        seed=int(torch.randint(2**62, (), generator=generator)),
    )


def add_noise(waveform: Tensor, plan: NoisePlan, sample_rate_hz: int, rows: Rows) -> Tensor:
    """Add the whole batch's planned noise to these `rows`; ``(B, N)`` → same.

    The noise has exactly the drawn power relative to the clip's, so silence stays silence.
    """
    noisy, n_samples = waveform.clone(), waveform.shape[1]
    ratio = 10 ** (-plan.snr_db / 20)

    def add(group: _Group, noise: Tensor) -> None:
        clips = waveform[group.index]
        level = group.of(ratio)[:, None] * _rms(clips) / _rms(noise).clamp_min(1e-30)
        noisy[group.index] = torch.addcmul(clips, noise, level)

    coloured = _Group(plan, (plan.kind >= 0) & (plan.kind < len(SLOPES)), rows, waveform, 0)
    if coloured.rows:
        drawn = coloured.normal(2 * (n_samples // 2 + 1))
        add(coloured, shape_spectrum(drawn, plan.kind[coloured.rows], n_samples))
    uniform = _Group(plan, plan.kind == KINDS.index("uniform"), rows, waveform, 1)
    if uniform.rows:
        add(uniform, uniform.uniform(n_samples).mul_(2).sub_(1))
    phase = _Group(plan, plan.kind == KINDS.index("phase"), rows, waveform, 2)
    if phase.rows:
        spectrum = stft(waveform[phase.index], plan.stft_size)
        turn = phase.normal(*spectrum.shape[1:])
        spectrum *= torch.complex(torch.zeros_like(turn), turn)
        add(phase, istft(spectrum, n_samples))
    sine = _Group(plan, plan.kind == KINDS.index("sine"), rows, waveform, 3)
    if sine.rows:
        time = torch.arange(n_samples, device=waveform.device) / sample_rate_hz
        angle = 2 * math.pi * sine.of(plan.hz)[:, None] * time + sine.of(plan.phase)[:, None]
        add(sine, torch.sin(angle))
    return noisy


def shape_spectrum(drawn: Tensor, kind: Tensor, n_samples: int) -> Tensor:
    """Noise without a mean, of the colours `kind`, ``(B,)``; changes `drawn`.

    Shapes: normal numbers, the spectrum's real and imaginary parts in turn,
    ``(B, 2 · (N // 2 + 1))`` → ``(B, N)``.
    """
    index = torch.arange(drawn.shape[1] // 2, device=drawn.device, dtype=drawn.dtype)
    index = index.clamp_min(1).repeat_interleave(2)
    gains = torch.stack([index ** (slope / 2) for slope in SLOPES.values()])
    gains[:, :2] = 0
    drawn *= gains[kind.to(drawn.device)]
    spectrum = torch.view_as_complex(drawn.view(len(drawn), -1, 2))
    y: Tensor = torch.fft.irfft(spectrum, n=n_samples)
    return y


class _Group:
    """The clips of a batch that get one sort of noise, and its samples.

    These are drawn for every such clip of the whole batch, then cut to this process's, so that a
    clip's noise does not depend on how many processes there are. Float32, whatever is trained.
    """

    def __init__(
        self, plan: NoisePlan, members: Tensor, rows: Rows, like: Tensor, stream: int
    ) -> None:
        self._all, self._like = members.nonzero()[:, 0].tolist(), like
        self._first = sum(row < rows.start for row in self._all)
        self.rows = [row for row in self._all if rows.start <= row < rows.stop]
        self.index = torch.tensor(self.rows, device=like.device) - rows.start
        self._generator = torch.Generator(like.device).manual_seed(plan.seed + stream)

    def of(self, values: Tensor) -> Tensor:
        """These clips' part of `values` ``(total,)``, on the device."""
        return values[self.rows].to(self._like)

    def normal(self, *shape: int) -> Tensor:
        return self._own(
            torch.randn(len(self._all), *shape, generator=self._generator, device=self._like.device)
        )

    def uniform(self, *shape: int) -> Tensor:
        return self._own(
            torch.rand(len(self._all), *shape, generator=self._generator, device=self._like.device)
        )

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn[self._first : self._first + len(self.rows)].to(self._like.dtype)


def _rms(waveform: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(waveform, dim=1, keepdim=True)
    return norm / math.sqrt(waveform.shape[1])
