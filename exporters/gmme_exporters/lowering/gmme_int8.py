"""GMME's convolutions re-laid for integers: neighbouring samples as channels.

ONNX Runtime computes an integer convolution as a copy of patches and a product. The copies go by
rows of a patch, the product by 16 outputs. So the long axis of the raw map is cut into groups of
2m samples, which become channels; a group has m outputs of each of the C kernels:

    samples       0 … 2m−1 │ 2m … 4m−1 │ …        (B, 1, rows, columns) → (B, 2m, rows, groups)
    outputs       0 …  m−1 │  m … 2m−1 │ …        C·m channels, one step per group

In memory, channels last, cutting moves nothing. A kernel of k taps, m times shifted by 2, fills
k + 2(m − 1) taps, rounded up to whole groups: m = 8 for long kernels is the fastest of 2 to 16
(`docs/results/fast-family.md`), m = 4 for the short ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.models.downsample import GMME, SameConv2d
from gmme_edge.models.eat import EAT
from gmme_exporters.lowering.gmme import RelaidGMME, lower_prelu, raw_kernel, relay

LONG, SHORT = 8, 4
"""Neighbours m of kernels longer than 2·LONG raw samples, and of others."""


def relay_gmme_for_int8(model: EAT) -> None:
    """Replace the GMME blocks; needs `to_planes`."""
    relay(model, GroupedGMME)


class GroupedGMME(RelaidGMME):
    """`RelaidGMME` of grouped convolutions.

    Gates and maps are parted while they are integers, which are a quarter as large as floats.

    Args:
        size: rows and columns of its inner maps, (F/2, T/2).
    """

    def __init__(self, block: GMME, size: tuple[int, int]) -> None:
        along = ((block.conv_f, 0), (block.conv_t, 1), (block.conv_g, 1))
        conv_f, conv_t, conv_g = (
            GroupedConv(conv, block.patches, axis, size) for conv, axis in along
        )
        super().__init__(block, (conv_f, conv_t, conv_g))
        self.act_f, self.act_t = _halves(block.act_f), _halves(block.act_t)

    def gate_and_map(self, along: Tensor, act: nn.Module) -> tuple[Tensor, ...]:
        return tuple(
            half(part) for half, part in zip(act.children(), along.chunk(2, 1), strict=True)
        )


def _halves(act: nn.PReLU) -> nn.ModuleList:
    """The same of either half of the channels."""
    halves = nn.ModuleList()
    for slopes in act.weight.detach().chunk(2):
        half = nn.PReLU(len(slopes))
        half.weight.data = slopes
        halves.append(lower_prelu(half))
    return halves


class GroupedConv(nn.Module):
    """`SameConv2d` of mini-patches or samples on the raw map, ``(B, F, 1, T)``; stride 2.

    Args:
        axis: the one cut into groups, 0 for frequency, 1 for time.
        size: rows and columns of the output.
    """

    def __init__(self, conv: SameConv2d, patches: bool, axis: int, size: tuple[int, int]) -> None:
        super().__init__()
        weight = raw_kernel(conv.weight.detach()) if patches else conv.weight.detach()
        unit = 2 if patches else 1
        rows, columns = (((k - 1) // 2 * unit, k // 2 * unit) for k in conv.kernel_size)
        if axis == 0:  # the map is turned, and so is its kernel
            weight, rows, columns = weight.mT, columns, rows
        taps = weight.shape[-1]
        wanted = LONG if taps > 2 * LONG else SHORT
        self.channels, self.axis, self.m = conv.out_channels, axis, math.gcd(wanted, size[axis])
        group = 2 * self.m
        before = -(-columns[0] // group)
        first = before * group - columns[0]  # where the first neighbour's taps begin
        groups = -(-(first + taps + group - 2) // group)
        end = groups * group - first - taps
        shifted = [F.pad(weight, (first + 2 * i, end - 2 * i)) for i in range(self.m)]
        kernel = torch.stack(shifted, 1).flatten(0, 1).unflatten(-1, (groups, group))  # type: ignore[no-untyped-call]
        self.weight = nn.Parameter(kernel.squeeze(1).permute(0, 3, 1, 2), requires_grad=False)
        bias = None if conv.bias is None else conv.bias.detach().repeat_interleave(self.m)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.pad = (before, groups - before - 1, *rows)

    def forward(self, x: Tensor) -> Tensor:
        image = x.permute(0, 2, 3, 1) if self.axis == 0 else x.permute(0, 2, 1, 3)
        cut = image.flatten(1, 2).unflatten(-1, (-1, 2 * self.m)).permute(0, 3, 1, 2)  # type: ignore[no-untyped-call]
        y = F.conv2d(F.pad(cut, self.pad), self.weight, self.bias, (2, 1))
        split: Tensor = y.unflatten(1, (self.channels, self.m))  # type: ignore[no-untyped-call]
        if self.axis == 0:  # C, m, T', F'/m
            return split.permute(0, 1, 4, 2, 3).flatten(2, 3)
        return split.permute(0, 1, 3, 4, 2).flatten(3, 4)  # of C, m, F', T'/m
