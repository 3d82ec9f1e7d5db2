"""Batch normalization over the batch of all processes, on CPUs as on GPUs.

torch's SyncBatchNorm refuses CPU tensors. Every process must hold equally many rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

Gather = Callable[[Tensor], Tensor]


def gather_from_processes(values: Tensor) -> Tensor:
    """Each process's `values`, shape ``(processes, *values.shape)``."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts)


class _Normalize(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) · weight + bias with the moments of the global batch.

    The gradient of x is that of the sum of all processes' losses, as each x takes part in the
    moments that every process uses; weight and bias get their own process's share.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - as torch types it
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        gather: Gather,
    ) -> tuple[Tensor, Tensor, Tensor]:
        own_variance, own_mean = torch.var_mean(x, dim=(0, 2), correction=0)
        means, variances = gather(torch.stack([own_mean, own_variance])).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        n_values = len(means) * x.shape[0] * x.shape[2]
        unbiased = variance * (n_values / max(n_values - 1, 1))
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.gather = gather
        ctx.mark_non_differentiable(mean, unbiased)
        return (x - mean[:, None]) * (scale * weight)[:, None] + bias[:, None], mean, unbiased

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - as torch types it
        *gradients: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        gradient = gradients[0]
        normal = (x - mean[:, None]) * scale[:, None]
        own = torch.stack([gradient.sum((0, 2)), (gradient * normal).sum((0, 2))])
        shift, slope = ctx.gather(own).mean(0)[..., None] / (x.shape[0] * x.shape[2])
        dx = (gradient - shift - normal * slope) * (scale * weight)[:, None]
        return dx, own[1], own[0], None, None


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """``(B, C, T)`` → same; in eval mode, torch's own."""

    gather: Gather = staticmethod(gather_from_processes)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, variance = _Normalize.apply(
            x.to(self.weight.dtype), self.weight, self.bias, self.eps, self.gather
        )
        self._track(mean, variance)
        return cast(Tensor, y.to(x.dtype))

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def share_batch_norm(model: nn.Module) -> None:
    """Turn every BatchNorm1d of `model` into one over all processes; its tensors stay the same."""
    for module in model.modules():
        if type(module) is nn.BatchNorm1d:
            module.__class__ = GlobalBatchNorm1d
