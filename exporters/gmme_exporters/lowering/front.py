"""The front of the network on pieces of the clip.

**Edges**: reflect padding only where it matters.

    x ─┬─ first and last S samples ── blocks, reflect padding ── E₁ frames, E₂ frames ─┐
       └─ the whole clip ──────────── blocks, zero padding ───── all between them ─────┴─ concat ─▶

A frame depends on how the clip is continued only within the blocks' reach, a handful of frames at
either end. Computing those few apart replaces a copy of every full-rate feature map by one concat
of the last, smallest one, and lets the engine keep its blocked layout between convolutions. The
edges travel as two rows of one plane.

**Tiles**: the first blocks, whose maps are the largest, run on one stretch of the clip after the
other, each with its neighbours' samples within reach. A tile's maps stay in the cache from one
convolution to the next, and the whole clip's are never in memory (drawn: EAT-S, ESC-50).

    x ─┬─ samples 0 … t + r ────── stem, 1.0 … 1.3 ── frames 0 … f ───┐
       ├─ samples t − r … 2t + r ─ stem, 1.0 … 1.3 ── frames f … 2f ──┴─ concat ─▶
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmme_edge.models.eat import EAT
from gmme_exporters.lowering.planes import PlaneConv, PlaneDown

TILE_SAMPLES = 16384
"""The widest map of a tile, 32 channels in EAT-S, has 2 MB in float32: about a core's cache."""
_OVERLAP = 0.02
"""The part of a tile that may be its neighbours' samples: as many blocks are tiled as it allows."""


def split_front(model: EAT, tile_samples: int = TILE_SAMPLES) -> None:
    """Apply both to the stem and stage 1 up to its last `Down`; needs `to_planes`.

    Behind a `Down` of stride 2 or more the edges are at most a dozen frames of the 128 that the
    shortest allowed clip has there. A network that pads with zeros has no edges to compute apart.
    """
    if model.spec.backbone.padding == "constant":
        return
    blocks = list(model.stage1)
    last = max(i for i, block in enumerate(blocks) if isinstance(block, PlaneDown))
    stem, n_samples = model.get_submodule("stem"), model.spec.n_samples
    front = FrontInPieces(stem, blocks, last + 1, n_samples, tile_samples)
    model.set_submodule("stem", nn.Identity())
    model.set_submodule("stage1", front)


@dataclass(frozen=True)
class Reach:
    """How many frames behind some blocks depend on the padding at either end of their input."""

    before: int
    after: int
    stride: int

    @property
    def samples(self) -> int:
        return (self.before + self.after) * self.stride


class FrontInPieces(nn.Module):
    """Stem and stage 1, ``(B, 1, N)`` → ``(B, C, 1, T)``.

    Args:
        n_split: so many blocks are computed apart at the edges.
        tile_samples: of a tile, about; the tiles divide the clip evenly.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        n_split: int,
        n_samples: int,
        tile_samples: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        for index, block in enumerate(blocks):
            self.add_module(str(index), block)  # the same names as in the plain network
        self.n_blocks, self.n_split = len(blocks), n_split
        reaches = [_reach([stem, *blocks[:count]]) for count in range(n_split + 1)]
        self.edge = reaches[n_split]
        self.n_tiles = max(1, round(n_samples / tile_samples))
        self.n_tiled = sum(reach.samples <= _OVERLAP * tile_samples for reach in reaches[1:])
        self.tile = reaches[self.n_tiled]

    def _block(self, index: int) -> nn.Module:
        return self.get_submodule(str(index))

    def forward(self, x: Tensor) -> Tensor:
        edges, middle = self._edges(x), self._middle(x)
        y = torch.cat(
            [
                edges[:, :, :1, : self.edge.before],
                middle[..., self.edge.before : -self.edge.after],
                edges[:, :, 1:, -self.edge.after :],
            ],
            -1,
        )
        for index in range(self.n_split, self.n_blocks):
            y = self._block(index)(y)
        return y

    def _edges(self, x: Tensor) -> Tensor:
        size = self.edge.samples
        rows = torch.cat([x[..., :size], x[..., -size:]], 1)
        y: Tensor = self.stem(rows.unsqueeze(1))
        for index in range(self.n_split):
            y = self._block(index)(y, "reflect")
        return y

    def _middle(self, x: Tensor) -> Tensor:
        tiles = list(self._tiles(x))
        y = torch.cat(tiles, -1) if len(tiles) > 1 else tiles[0]
        for index in range(self.n_tiled, self.n_split):
            y = self._block(index)(y, "constant")
        return y

    def _tiles(self, x: Tensor) -> Iterator[Tensor]:
        reach, n_frames = self.tile, x.shape[-1] // self.tile.stride
        size = math.ceil(n_frames / self.n_tiles)
        for start in range(0, n_frames, size):
            end = min(n_frames, start + size)
            first, last = max(0, start - reach.before), min(n_frames, end + reach.after)
            y = self.stem(x[..., first * reach.stride : last * reach.stride])
            for index in range(self.n_tiled):
                y = self._block(index)(y, "constant")
            yield y[..., start - first : end - first]


def _reach(blocks: Sequence[nn.Module]) -> Reach:
    """What a stack of blocks, the stem first, carries inwards from its padding.

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
    return Reach(before, after, stride)
