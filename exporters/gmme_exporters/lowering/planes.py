"""Convolutions along time as convolutions of planes of height 1, BatchNorm folded in.

    (B, C, T) ── Conv1d(k) ── BatchNorm ──   =   (B, C, 1, T) ── Conv2d(1 × k), γ/σ·w, β − γμ/σ ──

ONNX Runtime's convolutions in blocked layout (NCHWc) exist for planes only, and so does its fusion
of a convolution with the LeakyReLU behind it.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.models.convolution import Padding
from gmme_edge.models.downsample import AADown, SeparableDown
from gmme_edge.models.eat import EAT, ResBlock, Stem


def to_planes(model: EAT) -> None:
    """Replace every convolution along time; GMME blocks get their maps as before."""
    model.set_submodule("stem", PlaneStem(model.stem))
    for stage in (model.stage1, model.stage2):
        for index, block in enumerate(stage):
            stage[index] = _plane_block(block)
    model.set_submodule("project", PlaneProject(model.project))


def _plane_block(block: nn.Module) -> nn.Module:
    if isinstance(block, AADown):
        return PlaneDown(block)
    if isinstance(block, SeparableDown):
        return PlaneSeparableDown(block)
    return PlaneResBlock(block) if isinstance(block, ResBlock) else PlaneMap(block)


class PlaneConv(nn.Module):
    """``(B, C, 1, T)`` → ``(B, C', 1, T')``; `padding` is the network's unless a call differs."""

    def __init__(
        self,
        conv: nn.Conv1d,
        norm: nn.BatchNorm1d | None = None,
        pad: tuple[int, int] = (0, 0),
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        self.padding: Padding = padding
        weight, bias = fold_norm(conv, norm)
        self.weight = nn.Parameter(weight.unsqueeze(2), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.pad, self.groups = pad, conv.groups
        self.stride, self.dilation = (1, conv.stride[0]), (1, conv.dilation[0])

    def forward(self, x: Tensor, padding: Padding | None = None) -> Tensor:
        zeros = (padding or self.padding) == "constant"
        before, after = self.pad
        inside = (0, 0)
        if zeros and before == after:
            inside = (0, before)  # the engine's convolution pads for nothing
        elif zeros:
            x = F.pad(x, self.pad)
        elif before or after:
            x = F.pad(x, (before, after, 0, 0), mode="reflect")
        return F.conv2d(x, self.weight, self.bias, self.stride, inside, self.dilation, self.groups)


def fold_norm(conv: nn.Conv1d, norm: nn.BatchNorm1d | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of `conv` followed by `norm` in eval mode, computed in float64."""
    weight, bias = conv.weight.detach(), conv.bias.detach() if conv.bias is not None else None
    if norm is None:
        return weight, bias
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    factor = norm.weight.detach().double() / torch.sqrt(variance.double() + norm.eps)
    shift = norm.bias.detach().double() - mean.double() * factor
    if bias is not None:
        shift = shift + bias.double() * factor
    return (weight.double() * factor[:, None, None]).to(weight), shift.to(weight)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class PlaneStem(nn.Module):
    """``(B, 1, N)`` or ``(B, 1, rows, N)`` → ``(B, c, rows, N)``."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.conv = PlaneConv(stem.conv, stem.norm, (3, 3), stem.padding)

    def forward(self, x: Tensor) -> Tensor:
        return leaky(self.conv(x.unsqueeze(2) if x.ndim == 3 else x))


class PlaneDown(nn.Module):
    """`AADown` on planes."""

    def __init__(self, down: AADown) -> None:
        super().__init__()
        blur, channels = down.blur, down.blur.channels
        taps = nn.Conv1d(
            channels, channels, blur.taps.shape[-1], blur.stride, groups=channels, bias=False
        )
        taps.weight.data = blur.taps
        self.conv = PlaneConv(down.conv, down.norm, down.pad)
        self.blur = PlaneConv(taps, pad=(blur.stride, blur.stride))

    def forward(self, x: Tensor, padding: Padding | None = None) -> Tensor:
        y: Tensor = self.blur(leaky(self.conv(x, padding)), padding)
        return y


class PlaneSeparableDown(nn.Module):
    """`SeparableDown` on planes."""

    def __init__(self, down: SeparableDown) -> None:
        super().__init__()
        pad = down.depth.stride[0]
        self.depth = PlaneConv(down.depth, pad=(pad, pad), padding="constant")
        self.point = PlaneConv(down.point, down.norm)

    def forward(self, x: Tensor, padding: Padding | None = None) -> Tensor:
        return leaky(self.point(self.depth(x, padding)))


class PlaneResBlock(nn.Module):
    """`ResBlock` on planes; the shortcut comes last, so that its sum joins its convolution."""

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.shortcut = PlaneConv(block.shortcut)
        self.point = PlaneConv(block.point, block.point_norm)
        self.depth = PlaneConv(block.depth, block.depth_norm, (block.pad, block.pad), block.padding)

    def forward(self, x: Tensor, padding: Padding | None = None) -> Tensor:
        y: Tensor = self.shortcut(x) + (leaky(self.point(x)) + leaky(self.depth(x, padding)))
        return y


class PlaneMap(nn.Module):
    """A GMME block between planes: it sees ``(B, F, T)``."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x.flatten(1, 2)).unsqueeze(2)
        return y


class PlaneProject(nn.Module):
    """``(B, C, 1, T)`` → ``(B, width, T)``."""

    def __init__(self, project: nn.Conv1d) -> None:
        super().__init__()
        self.conv = PlaneConv(project)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).flatten(1, 2)
        return y
