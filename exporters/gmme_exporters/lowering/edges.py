"""Reflect padding only where it matters: at the two edges of the clip.

    x ─┬─ first and last S samples ── blocks, reflect padding ── E₁ frames, E₂ frames ─┐
       └─ the whole clip ──────────── blocks, zero padding ───── all between them ─────┴─ concat ─▶

A frame depends on how the clip is continued only within the blocks' reach, a handful of frames at
either end. Computing those few apart replaces a copy of every full-rate feature map by one concat
of the last, smallest one, and lets the engine keep its blocked layout between convolutions. The
edges travel as two rows of one plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gmme_edge.models.eat import EAT
from gmme_exporters.lowering.planes import PlaneConv, PlaneDown


def split_off_edges(model: EAT) -> None:
    """Apply it to the stem and stage 1 up to its last `Down`; needs `to_planes`.

    Behind a `Down` of stride 2 or more the edges are at most a dozen frames of the 128 that the
    shortest allowed clip has there.
    """
    blocks = list(model.stage1)
    last = max(i for i, block in enumerate(blocks) if isinstance(block, PlaneDown))
    front = EdgesApart(model.get_submodule("stem"), blocks, last + 1)
    model.set_submodule("stem", nn.Identity())
    model.set_submodule("stage1", front)


class EdgesApart(nn.Module):
    """Stem and stage 1, ``(B, 1, N)`` → ``(B, C, 1, T)``; the first `n_split` blocks split."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], n_split: int) -> None:
        super().__init__()
        self.stem = stem
        for index, block in enumerate(blocks):
            self.add_module(str(index), block)  # the same names as in the plain network
        self.n_blocks, self.n_split = len(blocks), n_split
        self.before, self.after, stride = _reach([stem, *blocks[:n_split]])
        self.segment_samples = (self.before + self.after) * stride

    def _block(self, index: int) -> nn.Module:
        return self.get_submodule(str(index))

    def forward(self, x: Tensor) -> Tensor:
        middle = self.stem(x)
        edges = torch.cat([x[..., : self.segment_samples], x[..., -self.segment_samples :]], 1)
        edges = self.stem(edges.unsqueeze(1))
        for index in range(self.n_split):
            middle = self._block(index)(middle, "zeros")
            edges = self._block(index)(edges, "reflect")
        y = torch.cat([
            edges[:, :, :1, : self.before],
            middle[..., self.before : -self.after],
            edges[:, :, 1:, -self.after :],
        ], -1)  # fmt: skip
        for index in range(self.n_split, self.n_blocks):
            y = self._block(index)(y)
        return y


def _reach(blocks: Sequence[nn.Module]) -> tuple[int, int, int]:
    """How many frames at either end depend on the padding, and the samples per frame.

    A convolution of padding p carries it p frames inwards; with stride d, output j reads inputs
    from d·j − p on, and is free of it once that is beyond the reach so far.
    """
    before = after = 0
    stride = 1
    for block in blocks:
        for conv in (part for part in block.modules() if isinstance(part, PlaneConv)):
            if conv.pad == (0, 0):
                continue  # the two 1×1 paths of a `ResBlock`, beside the padded one
            (left, right), step = conv.pad, conv.stride[1]
            before = math.ceil((before + left) / step)
            after = math.ceil((after + right - step + 1) / step)
            stride *= step
    return before, after, stride
