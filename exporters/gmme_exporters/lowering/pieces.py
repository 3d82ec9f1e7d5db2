"""A map piece by piece: only the frames that are asked for, from only the frames they need.

Frame j of a convolution along time reads the inputs from ``stride·j − before`` on; beyond either
end of the map it reads padding. So a span of a block's output follows from a span of its input,
and the padding belongs to pieces that touch the map's own end, and to no others:

    the map    ├──────────────────────────────────────────────┤
    a piece    ├─────────┤ padded before                                  span [0, 9)
    another                          ├──────┤ not padded at all           span [30, 38)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from gmme_exporters.lowering.gmme import NeighbourConv, RelaidGMME
from gmme_exporters.lowering.planes import (
    PlaneConv,
    PlaneDown,
    PlaneResBlock,
    PlaneSeparableDown,
    PlaneStem,
    leaky,
)


class Span(NamedTuple):
    """Frames ``[first, end)`` of a map."""

    first: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class Piece:
    """Some frames of a map of `total`: ``(B, C, 1, n)``, of which the first is `first`."""

    x: Tensor
    first: int
    total: int

    def cut(self, span: Span) -> Tensor:
        return self.x[..., span.first - self.first : span.end - self.first]


@dataclass(frozen=True)
class Taps:
    """What a convolution along time reads: `length` inputs, from `before` ahead on."""

    before: int
    length: int
    stride: int

    def reads(self, span: Span) -> Span:
        """The inputs of a span, those beyond the map's ends included."""
        first = self.stride * span.first - self.before
        return Span(first, self.stride * (span.end - 1) - self.before + self.length)

    def spoilt(self, before: int, after: int, total: int) -> tuple[int, int]:
        """How many outputs at either end read padding, or one of so many spoilt inputs."""
        clean = (total - after - self.length + self.before) // self.stride + 1
        return math.ceil((before + self.before) / self.stride), total // self.stride - clean


def taps_of(block: nn.Module) -> tuple[Taps, ...]:
    """The convolutions along time of a block, one behind the other."""
    if isinstance(block, PlaneStem):
        return (_taps(block.conv),)
    if isinstance(block, PlaneDown):
        return _taps(block.conv), _taps(block.blur)
    if isinstance(block, PlaneResBlock | PlaneSeparableDown):
        return (_taps(block.depth),)
    assert isinstance(block, RelaidGMME)
    beside = [_neighbour_taps(conv, alone=True) for conv in _convs(block)]
    before = max(taps.before for taps in beside)
    return (Taps(before, max(t.length - t.before for t in beside) + before, 2),)


def widened(block: nn.Module, span: Span) -> Span:
    """The span that a block gives where this one is asked for: whole groups of neighbours."""
    group = max((conv.m for conv in _convs(block) if conv.axis), default=1)
    return Span(span.first // group * group, math.ceil(span.end / group) * group)


def needed(block: nn.Module, span: Span, total: int) -> Span:
    """The span of a block's input, a map of `total` frames, that one of its output is made of."""
    span = widened(block, span)
    totals = [total]
    for taps in taps_of(block):
        totals.append(totals[-1] // taps.stride)
    for taps, n_frames in zip(reversed(taps_of(block)), totals[-2::-1], strict=True):
        span = _inside(taps.reads(span), n_frames)
    return span


def compute(block: nn.Module, piece: Piece, span: Span) -> Piece:
    """The `widened` span of a block's output, of a piece that holds what is `needed`."""
    span = widened(block, span)
    if isinstance(block, PlaneStem):
        done = _convolve(block.conv, piece, span)
        return Piece(leaky(done.x), done.first, done.total)
    if isinstance(block, PlaneDown):
        middle = _inside(_taps(block.blur).reads(span), piece.total)
        mixed = _convolve(block.conv, piece, middle)
        return _convolve(block.blur, Piece(leaky(mixed.x), mixed.first, mixed.total), span)
    if isinstance(block, PlaneSeparableDown):
        done = _convolve(block.depth, piece, span, "constant")
        return Piece(leaky(block.point(done.x)), done.first, done.total)
    if isinstance(block, PlaneResBlock):
        same, depth = piece.cut(span), _convolve(block.depth, piece, span)
        y = block.shortcut(same) + (leaky(block.point(same)) + leaky(depth.x))
        return Piece(y, span.first, piece.total)
    assert isinstance(block, RelaidGMME)
    y = block.mix([_neighbours(conv, piece, span) for conv in _convs(block)], piece.x)
    return Piece(y, span.first, piece.total // 2)


def _convs(block: nn.Module) -> list[NeighbourConv]:
    """Of a GMME block, in the order in which `mix` takes what they find; none of another."""
    return [conv for conv in block.children() if isinstance(conv, NeighbourConv)]


def _inside(span: Span, total: int) -> Span:
    return Span(max(0, span.first), min(total, span.end))


def _taps(conv: PlaneConv) -> Taps:
    return Taps(conv.pad[0], (conv.weight.shape[-1] - 1) * conv.dilation[1] + 1, conv.stride[1])


def _neighbour_taps(conv: NeighbourConv, alone: bool = False) -> Taps:
    """Of a group of neighbours, or of one of them `alone`."""
    length, group = conv.weight.shape[-1], conv.m if conv.axis else 1
    if alone:
        length -= 2 * (group - 1)
        group = 1
    return Taps(conv.pad[0], length, 2 * group)


def _padded(piece: Piece, reads: Span, mode: str) -> Tensor:
    span = _inside(reads, piece.total)
    x = piece.cut(span)
    around = span.first - reads.first, reads.end - span.end
    return F.pad(x, (*around, 0, 0), mode=mode) if any(around) else x


def _convolve(conv: PlaneConv, piece: Piece, span: Span, padding: str | None = None) -> Piece:
    x = _padded(piece, _taps(conv).reads(span), padding or conv.padding)
    y = F.conv2d(x, conv.weight, conv.bias, conv.stride, (0, 0), conv.dilation, conv.groups)
    return Piece(y, span.first, piece.total // conv.stride[1])


def _neighbours(conv: NeighbourConv, piece: Piece, span: Span) -> Tensor:
    group = conv.m if conv.axis else 1
    grouped = Span(span.first // group, span.end // group)
    return conv.convolve(_padded(piece, _neighbour_taps(conv).reads(grouped), "constant"))
