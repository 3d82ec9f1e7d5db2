"""Only the new part of a window is computed: two graphs that hand kept frames on.

Neighbouring windows share most of their samples. A frame is the same in both where it hears
neither the padding at the end of the old window nor that at the start of the new one:

    old window   ├──────────── kept ────────────┤▒▒▒ spoilt
    new window        ├─ left ─┼──── kept ──────┼─ right ──┤
                       spoilt                    a hop, and spoilt

**Start** computes a whole window, and gives the frames that the next may keep. **Step** takes them,
computes left and right, and gives the frames for the window after it. What is spoilt in the front
is short (1,792 samples of 114,688), so its left and right are computed from samples; each block of
stage 2 keeps its frames. The last block for which that pays joins all three, and what follows it
computes whole windows.

Frames can be kept only while the samples are scaled alike, so both graphs are given the factor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gmme_edge.errors import UsageError
from gmme_edge.models.eat import EAT
from gmme_exporters.lowering.front import split_front
from gmme_exporters.lowering.gmme import relay_gmme
from gmme_exporters.lowering.head import lower_head
from gmme_exporters.lowering.pieces import Piece, Span, compute, needed, taps_of, widened
from gmme_exporters.lowering.planes import to_planes

_WORTH_IT = 0.8
"""The largest part of a map that left and right may be; beyond it a block computes everything."""


@dataclass(frozen=True)
class KeptMap:
    """The map behind a block, in frames of a window.

    Attributes:
        block: its name, such as ``stage2.1``.
        total: frames of the whole map.
        hop: frames of a hop.
        left, right: a step computes the frames before `left` and from `right` on.
        clean: frames from here on hear the padding at the window's end.
    """

    block: str
    channels: int
    total: int
    hop: int
    left: int
    right: int
    clean: int

    @property
    def kept(self) -> Span:
        """The frames that a window gets from the one before."""
        return Span(self.left, self.clean - self.hop)

    @property
    def handed_on(self) -> Span:
        """The same frames, where the window before has them."""
        return Span(self.left + self.hop, self.clean)


def lower_incremental(model: EAT, hop_samples: int) -> tuple[Start, Step]:
    """Both graphs of `model` for windows so many samples apart.

    Raises:
        UsageError: a hop that is no whole number of frames, or after which nothing can be kept.
    """
    step = copy.deepcopy(model).eval()
    for rewrite in (to_planes, relay_gmme, lower_head):
        rewrite(step)
    start = copy.deepcopy(step)
    split_front(start)
    maps = tuple(_kept_maps(step, hop_samples))
    if not maps:
        frame = model.spec.stride // 4  # behind the front; stage 2 halves twice
        raise UsageError(
            f"{model.spec.name}: a hop of {hop_samples} samples.",
            f"a multiple of {frame} samples, and at most about half a window of "
            f"{model.spec.n_samples}.",
        )
    return Start(start, maps), Step(step, maps)


def _kept_maps(model: EAT, hop_samples: int) -> Iterator[KeptMap]:
    """Of the front's last block, and of each behind it for which it pays; `model` in planes."""
    spec, front = model.spec, _front(model)
    total, channels, spoilt = spec.n_samples, spec.backbone.stem_channels, (0, 0)
    for index, (name, block) in enumerate((*front, *_stage2(model))):
        for taps in taps_of(block):
            spoilt = taps.spoilt(*spoilt, total)
            total //= taps.stride
            channels *= 2 if taps.stride > 1 else 1
        if index < len(front) - 1:
            continue
        hop, rest = divmod(hop_samples * total, spec.n_samples)
        left = widened(block, Span(0, spoilt[0])).end
        right = widened(block, Span(total - spoilt[1] - hop, total)).first
        if rest or not hop or left + total - right > _WORTH_IT * total:
            return
        yield KeptMap(name, channels, total, hop, left, right, total - spoilt[1])


def _front(model: EAT) -> list[tuple[str, nn.Module]]:
    return [("stem", model.stem), *((f"stage1.{i}", b) for i, b in enumerate(model.stage1))]


def _stage2(model: EAT) -> list[tuple[str, nn.Module]]:
    return [(f"stage2.{i}", block) for i, block in enumerate(model.stage2)]


class _Incremental(nn.Module):
    """Shapes: see `Start`; the batch is 1."""

    def __init__(self, model: EAT, maps: tuple[KeptMap, ...]) -> None:
        super().__init__()
        self.model, self.maps = model, maps

    def _blocks(self) -> list[nn.Module]:
        """Those of stage 2 that keep frames."""
        return [self.model.get_submodule(each.block) for each in self.maps[1:]]

    def _finish(self, x: Tensor, handed_on: list[Tensor]) -> tuple[Tensor, ...]:
        for _, block in _stage2(self.model)[len(self.maps) - 1 :]:
            x = block(x)
        return (self.model.classify(self.model.embed_features(x)), *handed_on)


class Start(_Incremental):
    """``(1, N)`` and the factor ``(1, 1)`` → logits, and frames of each map."""

    def forward(self, waveform: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        x = self.model.stage1(self.model.stem((waveform * scale).unsqueeze(1)))
        handed_on = [self._hand_on(x, self.maps[0])]
        for block, each in zip(self._blocks(), self.maps[1:], strict=True):
            x = block(x)
            handed_on.append(self._hand_on(x, each))
        return self._finish(x, handed_on)

    def _hand_on(self, x: Tensor, each: KeptMap) -> Tensor:
        return x[..., each.handed_on.first : each.handed_on.end]


class Step(_Incremental):
    """As `Start`, with the frames that the window before handed on as further inputs."""

    def forward(self, waveform: Tensor, scale: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        held = [
            Piece(frames, each.kept.first, each.total)
            for frames, each in zip(kept, self.maps, strict=True)
        ]
        first = self.maps[0]
        left = self._front(waveform, scale, Span(0, first.left))
        right = self._front(waveform, scale, Span(first.right, first.total))
        windows = [_Window(left, held[0], right)]
        for block, each, frames in zip(self._blocks(), self.maps[1:], held[1:], strict=True):
            left = windows[-1].through(block, Span(0, each.left))
            right = windows[-1].through(block, Span(each.right, each.total))
            windows.append(_Window(left, frames, right))
        handed_on = [
            window.cut(each.handed_on).x for window, each in zip(windows, self.maps, strict=True)
        ]
        return self._finish(windows[-1].cut(Span(0, self.maps[-1].total)).x, handed_on)

    def _front(self, waveform: Tensor, scale: Tensor, span: Span) -> Piece:
        """Frames behind stage 1, of the samples that they hear."""
        blocks = [block for _, block in _front(self.model)]
        spans, total = [span], self.maps[0].total
        for block in reversed(blocks):
            for taps in taps_of(block):
                total *= taps.stride
            spans.append(needed(block, spans[-1], total))
        samples = spans.pop()
        x = waveform[..., samples.first : samples.end] * scale
        piece = Piece(x[:, None, None], samples.first, total)
        for block, out in zip(blocks, reversed(spans), strict=True):
            piece = compute(block, piece, out)
        return piece


class _Window:
    """A map of a window: what is computed at both ends, and what is kept between them."""

    def __init__(self, left: Piece, kept: Piece, right: Piece) -> None:
        self.parts, self.total = (left, kept, right), kept.total
        bounds = (0, kept.first, right.first, kept.total)
        self.spans = [Span(*bound) for bound in pairwise(bounds)]

    def cut(self, span: Span) -> Piece:
        wanted = [Span(max(span.first, has.first), min(span.end, has.end)) for has in self.spans]
        pairs = zip(self.parts, wanted, strict=True)
        held = [part.cut(of) for part, of in pairs if of.size > 0]
        return Piece(torch.cat(held, -1) if len(held) > 1 else held[0], span.first, self.total)

    def through(self, block: nn.Module, span: Span) -> Piece:
        """A span behind `block`."""
        return compute(block, self.cut(needed(block, span, self.total)), span)
