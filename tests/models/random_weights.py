"""Weights of ordinary size for every parameter and statistic, so that no mistake hides in a 0."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.models.numpy_reference import Array


def randomize(module: nn.Module, seed: int = 0) -> dict[str, Array]:
    """Fill `module` in place and return the same numbers as float64 numpy; eval mode.

    Convolutions and Linears keep the size of their input on average; variances are positive.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith(("num_batches_tracked", "taps")):
                continue
            values = rng.normal(size=tuple(tensor.shape))
            if name.endswith("running_var"):
                values = 0.5 + values**2
            elif tensor.ndim > 1 and name.endswith("weight"):
                values /= np.sqrt(values[0].size)
            elif name.endswith("weight"):
                values = 1 + 0.3 * values
            else:
                values *= 0.3
            tensor.copy_(torch.from_numpy(values))
    module.eval()
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
