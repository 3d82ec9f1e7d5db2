"""The short-time Fourier transform and the FFT lengths of the augmentations."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.training.recipe import Recipe

_OVERLAP = 4


def stft_sizes(recipe: Recipe, sample_rate_hz: int) -> tuple[int, int, int]:
    """The reference's sizes: 512, 1024, 2048 at 22.05 kHz; 256, 512, 1024 at 16 kHz."""
    shortest = max(2 ** round(math.log2(recipe.stft_s * sample_rate_hz)), _OVERLAP)
    return shortest, 2 * shortest, 4 * shortest


def stft(waveform: Tensor, size: int) -> Tensor:
    """``(B, N)`` → ``(B, frames, size // 2 + 1)``, complex; Hann window, hop of `size` / 4.

    The clip is zero-padded so that each sample lies in four frames: `istft` then inverts this for
    any N and needs no division by the windows' sum, which `torch.istft` checks on the host.
    """
    hop, n_samples = size // _OVERLAP, waveform.shape[1]
    n_frames = -(-n_samples // hop) + _OVERLAP - 1
    padded = F.pad(waveform, (size - hop, n_frames * hop - n_samples))
    y: Tensor = torch.fft.rfft(padded.unfold(1, size, hop) * _window(size, waveform))
    return y


def istft(spectrum: Tensor, n_samples: int) -> Tensor:
    """The inverse of `stft`: ``(B, frames, bins)`` → ``(B, n_samples)``."""
    n_clips, n_frames, n_bins = spectrum.shape
    size = 2 * (n_bins - 1)
    hop = size // _OVERLAP
    frames: Tensor = torch.fft.irfft(spectrum, n=size)
    parts = frames.view(n_clips, n_frames, _OVERLAP, hop)
    window = _window(size, frames).view(_OVERLAP, hop)
    blocks = frames.new_zeros(n_clips, n_frames + _OVERLAP - 1, hop)
    for part in range(_OVERLAP):
        blocks[:, part : part + n_frames].addcmul_(parts[:, :, part], window[part])
    return blocks.view(n_clips, -1)[:, size - hop : size - hop + n_samples]


def _window(size: int, like: Tensor) -> Tensor:
    """A Hann window whose squares, a quarter of its length apart, add up to 1."""
    window = torch.hann_window(size, dtype=like.dtype, device=like.device)
    return window * math.sqrt(8 / (3 * _OVERLAP))


def smooth_length(at_least: int) -> int:
    """The smallest number from `at_least` on without a prime factor over 5: its FFT is fast."""
    length = max(at_least, 1)
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
