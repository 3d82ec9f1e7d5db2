"""GMME's convolutions re-laid: straight on the raw map, several neighbouring outputs as channels.

A patch convolution is one of the raw map: mini-patch channel (dy, dx) of tap (i, j) is raw tap
(2i + dy, 2j + dx), with stride 2. Of its 8 output channels a vector unit wants 32. So `m`
neighbours along the long axis become channels, each with the same kernel 2 samples further on:

    neighbour 0   w₀ w₁ … w₆₅  0  0  0 …          one kernel of 2(m − 1) more taps,
    neighbour 1    0  0 w₀ w₁ … w₆₅  0 …          m times the channels, stride 2m
    neighbour 2    0  0  0  0 w₀ w₁ … w₆₅

m = 4 adds 9 % of multiply-adds (K = 32) and fills four times the lanes. The outputs are put in
order again by one transposition of a small map.

For integers there is another layout (`gmme_int8.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.models.downsample import GMME, SameConv2d
from gmme_edge.models.eat import EAT
from gmme_exporters.lowering.planes import PlaneMap

LANES = 32
"""Output channels that a convolution should have: four vectors of 8 floats."""

Convs = tuple[nn.Module, nn.Module, nn.Module]
"""Along frequency, along time, and of the square neighbourhood."""


def relay_gmme(model: EAT) -> None:
    """Replace the GMME blocks; needs `to_planes`."""
    relay(model, lambda block, size: RelaidGMME(block, neighbour_convs(block, size)))


def relay(model: EAT, relaid: Callable[[GMME, tuple[int, int]], nn.Module]) -> None:
    """Replace every GMME block; `relaid` gets rows and columns of its inner maps besides."""
    channels = model.spec.backbone.stem_channels << len(model.spec.factors)
    frames = 2 * model.spec.tokens * GMME.STRIDE
    for index, block in enumerate(model.stage2):
        if isinstance(block, PlaneMap) and isinstance(block.block, GMME):
            model.stage2[index] = relaid(block.block, (channels // 2, frames // 2))
            channels, frames = 2 * channels, frames // 2


def neighbour_convs(block: GMME, size: tuple[int, int]) -> Convs:
    return (
        NeighbourConv(block.conv_f, block.patches, 0, size),
        NeighbourConv(block.conv_t, block.patches, 1, size),
        NeighbourConv(block.conv_g, block.patches, 1, size),
    )


class RelaidGMME(nn.Module):
    """`GMME` in eval mode on planes, ``(B, F, 1, T)`` → ``(B, 2F, 1, T/2)``."""

    def __init__(self, block: GMME, convs: Convs) -> None:
        super().__init__()
        self.conv_f, self.conv_t, self.conv_g = convs
        self.act_f, self.act_t, self.act_g, self.act_m = (
            lower_prelu(act) for act in (block.act_f, block.act_t, block.act_g, block.act_m)
        )
        self.phi = nn.Linear(block.phi.in_channels, block.phi.out_channels)
        self.phi.weight.data = block.phi.weight.detach()[:, :, 0, 0]
        self.phi.bias.data = block.phi.bias.detach()[:, None]  # type: ignore[union-attr]

    def gate_and_map(self, along: Tensor, act: nn.Module) -> tuple[Tensor, ...]:
        """The two halves of what a convolution found along an axis."""
        return act(along).chunk(2, dim=1)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.mix([conv(x) for conv in (self.conv_f, self.conv_t, self.conv_g)], x)

    def mix(self, found: Sequence[Tensor], x: Tensor) -> Tensor:
        """What the three convolutions found in `x`, to ``(B, 2F, 1, T/2)``."""
        along_f, along_t, around = found
        gate_f, map_f = self.gate_and_map(along_f, self.act_f)
        gate_t, map_t = self.gate_and_map(along_t, self.act_t)
        gated = torch.sigmoid(gate_f) * torch.sigmoid(gate_t) * self.act_m(map_f * map_t)
        mixed = (self.act_g(around) + gated).flatten(2)
        y = self.phi.weight @ mixed + self.phi.bias
        folded: Tensor = y.reshape(x.shape[0], 2 * x.shape[1], 1, -1)
        return folded


class NeighbourConv(nn.Module):
    """`SameConv2d` of mini-patches or samples on the raw map, ``(B, F, 1, T)``; stride 2.

    Args:
        axis: 0 where neighbours lie along frequency, 1 along time.
        size: rows and columns of the output.
    """

    def __init__(
        self, conv: SameConv2d, patches: bool, axis: int, size: tuple[int, int], lanes: int = LANES
    ) -> None:
        super().__init__()
        weight = raw_kernel(conv.weight.detach()) if patches else conv.weight.detach()
        unit = 2 if patches else 1
        rows, columns = (((k - 1) // 2 * unit, k // 2 * unit) for k in conv.kernel_size)
        self.channels, self.axis = conv.out_channels, axis
        self.m = math.gcd(max(1, lanes // conv.out_channels), size[axis])
        shifted = [F.pad(weight, _both(axis, (2 * i, 2 * (self.m - 1 - i)))) for i in range(self.m)]
        self.weight = nn.Parameter(torch.stack(shifted, 1).flatten(0, 1), requires_grad=False)
        bias = None if conv.bias is None else conv.bias.detach().repeat_interleave(self.m)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.pad = (*columns, *rows)
        self.stride = (2 * self.m, 2) if axis == 0 else (2, 2 * self.m)

    def forward(self, x: Tensor) -> Tensor:
        image = x.flatten(1, 2).unsqueeze(1)
        return self._in_order(F.conv2d(F.pad(image, self.pad), self.weight, self.bias, self.stride))

    def convolve(self, x: Tensor) -> Tensor:
        """As `forward`, of a stretch of time that is padded already or needs no padding."""
        image = F.pad(x.flatten(1, 2).unsqueeze(1), (0, 0, *self.pad[2:]))
        return self._in_order(F.conv2d(image, self.weight, self.bias, self.stride))

    def _in_order(self, y: Tensor) -> Tensor:
        split: Tensor = y.unflatten(1, (self.channels, self.m))  # type: ignore[no-untyped-call]  # C, m, F', T'
        if self.axis == 0:
            return split.transpose(2, 3).flatten(2, 3)
        return split.permute(0, 1, 3, 4, 2).flatten(3, 4)


def raw_kernel(weight: Tensor) -> Tensor:
    """``(C, 4, i, j)`` on mini-patches → ``(C, 1, 2i, 2j)`` on the raw map."""
    return F.pixel_shuffle(weight, GMME.STRIDE)


def _both(axis: int, pad: tuple[int, int]) -> tuple[int, ...]:
    return (0, 0, *pad) if axis == 0 else pad


def lower_prelu(act: nn.PReLU) -> nn.Module:
    """Slopes between 0 and 1: ``max(x, a·x)``, which engines run at the speed of memory."""
    slopes = act.weight.detach()
    return MaxPReLU(slopes) if bool(((slopes >= 0) & (slopes <= 1)).all()) else act


class MaxPReLU(nn.Module):
    """``max(x, a·x)`` over the channels of ``(B, C, F, T)``."""

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.slopes = nn.Parameter(slopes[:, None, None], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, x * self.slopes)
