"""Augmentation of a batch of waveforms, on the device where the batch lies."""

from __future__ import annotations

import torch
from torch import Tensor

_PROBABILITY = 0.5
_GAIN = (0.5, 1.3)
_SHIFT_S = 0.1


def augment(waveform: Tensor, sample_rate_hz: int, generator: torch.Generator) -> Tensor:
    """Gain 0.5–1.3, polarity flip and a shift of up to ±0.1 s, each with probability 0.5.

    Shapes: ``(B, N)`` → same. Samples shifted in are zero. All randomness is `generator`'s
    (on the CPU, so that a seed means the same on every device).
    """
    n_clips, n_samples = waveform.shape

    def draw(low: float, high: float, off: float) -> Tensor:
        values = torch.rand(n_clips, generator=generator) * (high - low) + low
        chosen = torch.rand(n_clips, generator=generator) < _PROBABILITY
        return torch.where(chosen, values, torch.full_like(values, off)).to(waveform.device)

    gain, sign = draw(*_GAIN, 1.0), draw(-1.0, -1.0, 1.0)
    limit = min(_SHIFT_S * sample_rate_hz, n_samples - 1)
    shift = draw(-limit, limit, 0.0).round().long()
    source = torch.arange(n_samples, device=waveform.device) - shift[:, None]
    inside = (source >= 0) & (source < n_samples)
    shifted = waveform.gather(1, source.clamp(0, n_samples - 1))
    return shifted * inside * (gain * sign)[:, None]
