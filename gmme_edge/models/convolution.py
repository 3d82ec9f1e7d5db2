"""Convolutions and paddings whose gradients are quick on an x86 CPU.

torch computes the gradients of filters per channel, of dilated filters and of long kernels over
few channels by routines that were made for many channels; they took up to half of a training
step (docs/results/training-speed.md). Here they are forward convolutions and matrix products
instead: the same sums in another order, in float32 as under autocast. Anywhere else (a GPU,
another CPU, while a graph is traced or compiled) torch's own are used, since nothing was measured
there.
"""

from __future__ import annotations

from math import gcd
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Padding = Literal["reflect", "constant"]
"""How a convolution continues its input, by torch's names; constant is zeros."""

_Context: TypeAlias = Any  # what torch keeps between forward and backward has no public type

LONGEST_CHUNK = 512  # samples that one product of a filter's gradient sums up
BLOCK = 8  # rows of a map that one product of a long kernel's gradient shares


def own_gradients(x: Tensor) -> bool:
    """Whether gradients of what is done to `x` are computed here, not by torch."""
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and not torch.onnx.is_in_onnx_export()
        and not torch.compiler.is_compiling()
    )


def _has_avx512() -> bool:
    """Whether convolutions gain by wider registers; on AMD's CPUs torch's products do not."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def pad_ends(x: Tensor, pad: tuple[int, int], mode: Padding) -> Tensor:
    """``(B, C, T)`` → ``(B, C, pad[0] + T + pad[1])``."""
    if mode == "reflect" and max(pad) < x.shape[-1] and own_gradients(x):
        y: Tensor = _Reflect.apply(x, *pad)
        return y
    return F.pad(x, pad, mode=mode)


class Conv1d(nn.Conv1d):
    """`torch.nn.Conv1d`, with these gradients."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if weight.shape[-1] == 1 or not own_gradients(x):
            y: Tensor = super()._conv_forward(x, weight, bias)
            return y
        return _convolve(self, x, weight, bias)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, with these gradients where it neither pads, dilates nor has groups."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        plain = self.padding == (0, 0) and self.dilation == (1, 1) and self.groups == 1
        if weight[0, 0].numel() == 1 or not plain or not own_gradients(x):
            y: Tensor = super()._conv_forward(x, weight, bias)
            return y
        return _convolve(self, x, weight, bias)


def filter_channels(x: Tensor, taps: Tensor, stride: int) -> Tensor:
    """One fixed filter per channel; ``(B, C, T)`` and ``(C, 1, K)`` → ``(B, C, T')``."""
    if not own_gradients(x):
        return F.conv1d(x, taps, stride=stride, groups=len(taps))
    y: Tensor = _Convolve.apply(x, taps, None, _Shape((stride,), (0,), (1,), len(taps)))
    return y


def _convolve(
    module: nn.Conv1d | nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    shape = _Shape(module.stride, module.padding, module.dilation, module.groups)  # type: ignore[arg-type]
    y: Tensor = _Convolve.apply(x, weight, bias, shape)
    return y


class _Shape(NamedTuple):
    """A convolution's settings, in the order of torch's arguments."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class _Reflect(torch.autograd.Function):
    """torch's own takes four times as long as a copy."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, left: int, right: int) -> Tensor:
        ctx.pad = left, right
        last = x.shape[-1] - 1
        ends = x[..., 1 : left + 1], x[..., last - right : last]
        return torch.cat((ends[0].flip(-1), x, ends[1].flip(-1)), dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None, None]:
        left, right = ctx.pad
        size = grad.shape[-1] - left - right
        of_x = grad[..., left : left + size].clone()
        of_x[..., 1 : left + 1] += grad[..., :left].flip(-1)
        of_x[..., size - 1 - right : size - 1] += grad[..., left + size :].flip(-1)
        return of_x, None, None


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, shape: _Shape
    ) -> Tensor:
        if torch.is_autocast_enabled("cpu"):  # as for torch's own; their gradients stay float32
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        no_output_padding = [0] * len(shape.stride)
        return torch.convolution(
            x, weight, bias, *shape[:3], False, no_output_padding, shape.groups
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), shape = ctx.saved_tensors, ctx.shape
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        grad = grad.contiguous()
        of_x = _of_input(grad, x, weight, shape) if wants_x else None
        of_weight = _of_weight(grad, x, weight, shape) if wants_weight else None
        of_bias = grad.transpose(0, 1).flatten(1).sum(dim=1) if wants_bias else None
        return of_x, of_weight, of_bias, None


def _of_input(grad: Tensor, x: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
    if grad.dim() == 4:
        even = not any(size % 2 for size in weight.shape[2:])
        if weight.shape[1] == 1 and shape.stride == (2, 2) and even:
            return _of_halved_map(grad, x, weight)
    elif shape.groups == weight.shape[0] and shape.stride == (1,) and shape.dilation > (1,):
        reach = (weight.shape[-1] - 1) * shape.dilation[0] - shape.padding[0]
        if reach >= 0:
            return F.conv1d(F.pad(grad, (reach, reach)), weight.flip(-1), None, 1, 0, *shape[2:])
    if x.dtype == torch.bfloat16 and shape.groups == weight.shape[0] and shape.stride > (1,):
        grad, x, weight = grad.float(), x.float(), weight.float()  # a quarter of bfloat16's time
    return _by_torch(grad, x, weight, shape, 0)


def _of_weight(grad: Tensor, x: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
    if grad.dim() == 4:
        return _of_long_kernel(grad, x, weight, shape.stride)
    if shape.groups == weight.shape[0] == x.shape[1]:
        return _of_filters(grad, x, weight, shape)
    if shape == ((1,), (0,), (1,), 1) and x.dtype != torch.bfloat16 and not _has_avx512():
        return _of_dense_kernel(grad, x, weight)
    return _by_torch(grad, x, weight, shape, 1)


def _by_torch(grad: Tensor, x: Tensor, weight: Tensor, shape: _Shape, which: int) -> Tensor:
    wanted = [which == 0, which == 1, False]
    none = [0] * len(shape.stride)
    results = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *shape[:3], False, none, shape.groups, wanted
    )
    result: Tensor = results[which]
    return result


def _of_filters(grad: Tensor, x: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
    """Of one filter per channel: `x` filtered by the gradient, in chunks of its length.

    Each chunk of each channel of each clip is a channel of one convolution, whose stride is the
    dilation and the other way round.
    """
    (stride,), (pad,), (dilation,), _ = shape
    taps = weight.shape[-1]
    batch, channels, length = grad.shape
    chunk = min(length, LONGEST_CHUNK)
    n_chunks = -(-length // chunk)
    grad = F.pad(grad, (0, n_chunks * chunk - length))
    window = (chunk - 1) * stride + (taps - 1) * dilation + 1
    missing = window + (n_chunks - 1) * chunk * stride - x.shape[-1] - pad
    if pad or missing > 0:
        x = F.pad(x, (pad, max(missing, 0)))
    windows = x.unfold(-1, window, chunk * stride)[:, :, :n_chunks]
    groups = batch * channels * n_chunks
    signals, filters = windows.reshape(1, groups, window), grad.reshape(groups, 1, chunk)
    sums = F.conv1d(signals, filters, None, dilation, 0, stride, groups)
    return sums.view(batch, channels, n_chunks, taps).sum(dim=(0, 2)).unsqueeze(1)


def _of_dense_kernel(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """A matrix product for each tap and clip."""
    of_taps = weight.new_zeros(weight.shape[-1], *weight.shape[:2])
    length = grad.shape[-1]
    for one_grad, one_x in zip(grad, x, strict=True):
        for tap, of_tap in enumerate(of_taps):
            of_tap.addmm_(one_grad, one_x[:, tap : tap + length].t())
    return of_taps.permute(1, 2, 0)


def _of_long_kernel(grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...]) -> Tensor:
    """One matrix product for each clip: blocks of rows with all rows that they look at.

    The products of rows that are equally far apart belong to one tap.
    """
    n_out, channels, rows, columns = weight.shape
    height, width = grad.shape[2:]
    block = gcd(height, BLOCK)
    n_blocks, seen = height // block, (block - 1) * stride[0] + rows
    sums = torch.promote_types(weight.dtype, torch.float32)  # of many clips: not in bfloat16
    products = weight.new_zeros(n_out * block, channels * seen * columns, dtype=sums)
    for one_grad, one_x in zip(grad, x, strict=True):
        by_rows = one_x.unfold(1, seen, stride[0] * block)[:, :n_blocks]
        windows = by_rows.unfold(2, columns, stride[1])[:, :, :width].permute(0, 3, 4, 1, 2)
        blocks = one_grad.view(n_out, n_blocks, block, width).transpose(1, 2)
        products += blocks.reshape(n_out * block, -1) @ windows.reshape(products.shape[1], -1).t()
    products = products.view(n_out, block, channels, seen, columns)
    return sum(  # type: ignore[return-value]
        products[:, row, :, row * stride[0] : row * stride[0] + rows] for row in range(block)
    )


def _of_halved_map(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Of a map of one channel at stride 2: its 2×2 patches are four channels at stride 1."""
    n_out, _, rows, columns = weight.shape
    patches = weight.view(n_out, rows // 2, 2, columns // 2, 2).permute(0, 2, 4, 1, 3)
    kernel = patches.reshape(n_out, 4, rows // 2, columns // 2).flip(2, 3).transpose(0, 1)
    reach = (columns // 2 - 1,) * 2 + (rows // 2 - 1,) * 2
    seen = F.pixel_shuffle(F.conv2d(F.pad(grad, reach), kernel), 2)
    beyond = (x.shape[3] - seen.shape[3], x.shape[2] - seen.shape[2])
    return F.pad(seen, (0, beyond[0], 0, beyond[1]))
