"""Standard normal numbers for noise, by the thousand."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def draw_normal(count: int, seed: int, device: torch.device) -> Tensor:
    """Float32, shape ``(count,)``: a function of the seed and the sort of device.

    Torch draws on a CPU in one thread. There, only the bits come from one thread, and Box and
    Muller's method makes them normal on all.
    """
    if device.type != "cpu":
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(count, generator=generator, device=device)
    n_pairs = -(-count // 2)
    bits = np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, n_pairs, np.uint64)
    numbers = torch.from_numpy(bits.view(np.int32)).view(2, n_pairs).float()
    uniform = numbers[0].mul_(2.0**-32).add_(0.5).clamp_(min=2.0**-26)
    radius = uniform.log_().mul_(-2).sqrt_()
    angle = numbers[1].mul_(math.pi * 2.0**-31)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]
