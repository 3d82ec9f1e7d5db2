"""A batch in parts that fit into memory, whose gradients add up to the whole batch's."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def split_rows(n_rows: int, micro_batch: int | None) -> list[slice]:
    """Consecutive parts of `n_rows`, as even as can be, of at most `micro_batch` each."""
    n_parts = 1 if micro_batch is None else -(-n_rows // micro_batch)
    edges = [n_rows * i // n_parts for i in range(n_parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def slow_batch_norm(model: nn.Module, n_parts: int) -> None:
    """Let `n_parts` updates of BatchNorm's running statistics weigh what one weighed.

    Each part of a batch is normalized by its own mean and variance, since those of the whole
    batch would need all of it in memory at once. The running statistics, which the trained
    network uses, keep the time constant that they have with whole batches.
    """
    if n_parts == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** (1 / n_parts)
