"""Down-sampling blocks: EAT's anti-alias convolution, a light separable one, and GMME.

All take ``(B, F, T)`` and return ``(B, 2F, T/s)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.models.convolution import Conv1d, Conv2d, filter_channels, pad_ends
from gmme_edge.spec import Downsample


def triangle(channels: int, stride: int) -> Tensor:
    """Taps ``[1, 2, …, stride + 1, …, 2, 1]`` of sum 1; ``(channels, 1, 2·stride + 1)``."""
    ramp = torch.arange(1, stride + 1, dtype=torch.float32)
    taps = torch.cat([ramp, torch.tensor([stride + 1.0]), ramp.flip(0)])
    return (taps / taps.sum()).repeat(channels, 1, 1)


class Blur(nn.Module):
    """Fixed depthwise triangular low-pass, stride `stride` (arXiv 1904.11486).

    Reflect padding. The taps are a buffer, so they count as no parameter.
    """

    taps: Tensor

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.register_buffer("taps", triangle(channels, stride))
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        padded = pad_ends(x, (self.stride, self.stride), "reflect")
        return self._filter(padded, self.taps)

    def _filter(self, x: Tensor, taps: Tensor) -> Tensor:
        return filter_channels(x, taps, self.stride)


class AADown(nn.Module):
    """EAT's anti-alias down-sampling: conv c→2c (kernel stride + 1), BatchNorm, LeakyReLU, blur.

    An odd stride pads one frame less at the end, so that the frames stay a multiple of it.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.pad = (stride + 1) // 2, stride // 2
        self.conv = Conv1d(channels, 2 * channels, stride + 1, bias=False)
        self.norm = nn.BatchNorm1d(2 * channels)
        self.blur = Blur(2 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        padded = pad_ends(x, self.pad, "reflect")
        y: Tensor = self.blur(F.leaky_relu(self.norm(self.conv(padded)), 0.2))
        return y


class SeparableDown(nn.Module):
    """Light down-sampling of the ``edge`` family; in neither paper.

        (B, c, T) ── depthwise, 2s + 1 taps, stride s ── 1×1, c → 2c ── BatchNorm ── LeakyReLU ──

    The filter per channel is learned and begins as `Blur`'s triangle. It comes first, so that the
    mixing of channels, which AA does at the full rate, happens at the low one. Zero padding.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.depth = Conv1d(
            channels, channels, 2 * stride + 1, stride, stride, groups=channels, bias=False
        )
        self.point = Conv1d(channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(2 * channels)

    def initialise(self) -> None:
        """Begin as a low-pass; for whoever has initialised all convolutions alike."""
        self.depth.weight.data = triangle(self.depth.in_channels, self.depth.stride[0])

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.point(self.depth(x))), 0.2)


class SameConv2d(Conv2d):
    """Convolution whose zero padding keeps ceil(size / stride); even kernels pad one more after."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (k - 1 for k in self.kernel_size)
        pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        padded = F.pad(x, pad)
        if self.training and rows < columns:
            # The same on the transposed map: oneDNN's gradient of a wide kernel takes four times
            # as long as that of a tall one on a CPU.
            padded = padded.mT.contiguous()
            y: Tensor = self._conv_forward(padded, self.weight.mT, self.bias).mT
        else:
            y = self._conv_forward(padded, self.weight, self.bias)
        return y


class GMME(nn.Module):
    """Gated multi mini-patch extractor, stride 2 (Eq. 1–5 and Fig. 2 of the GMME paper).

    Three convolutions look along frequency, along time and at a square neighbourhood; the first
    two gate each other, the third is a shortcut; a 1×1 convolution then folds the halved
    frequency axis into channels.

    Kernel extents count 2×2 mini-patches (``gmme``: space-to-depth to 4 channels, K + 1 long, no
    bias; reproduces the paper's parameter counts) or samples (``gmme-lite``: Eq. 1 read
    literally). `docs/explanation/gmme.md` tells why there are two.

    Shapes: ``(B, F, T)`` → ``(B, 2F, T/2)``; F and T even.
    """

    STRIDE = 2

    def __init__(self, down: Downsample) -> None:
        super().__init__()
        s, channels = self.STRIDE, down.channels
        self.patches = down.kind == "gmme"
        n_in, stride, long = (s * s, 1, down.kernel + 1) if self.patches else (1, s, down.kernel)

        def conv(n_out: int, kernel: tuple[int, int]) -> SameConv2d:
            return SameConv2d(n_in, n_out, kernel, stride, bias=not self.patches)

        self.conv_f = conv(channels, (long, 2 * s))
        self.conv_t = conv(channels, (2 * s, long))
        self.conv_g = conv(channels // 2, (2 * s, 2 * s))
        self.act_f = nn.PReLU(channels)
        self.act_t = nn.PReLU(channels)
        self.act_g = nn.PReLU(channels // 2)
        self.act_m = nn.PReLU(channels // 2)
        self.phi = nn.Conv2d(channels // 2, 2 * s, 1)

    def forward(self, x: Tensor) -> Tensor:
        image = x.unsqueeze(1)
        if self.patches:
            image = F.pixel_unshuffle(image, self.STRIDE)
        gate_f, map_f = self.act_f(self.conv_f(image)).chunk(2, dim=1)
        gate_t, map_t = self.act_t(self.conv_t(image)).chunk(2, dim=1)
        gated = torch.sigmoid(gate_f) * torch.sigmoid(gate_t) * self.act_m(map_f * map_t)
        y: Tensor = self.phi(self.act_g(self.conv_g(image)) + gated)
        return y.flatten(1, 2)


def build_downsample(down: Downsample, channels: int) -> nn.Module:
    return AADown(channels, 2) if down.kind == "aa" else GMME(down)
