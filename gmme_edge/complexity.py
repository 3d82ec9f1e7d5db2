"""Parameters and FLOPs of a spec, in closed form (no torch).

The tests hold these against the built network's own parameters and torch's FLOP counter.
"""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.spec import ModelSpec


@dataclass(frozen=True)
class Complexity:
    """Counts of one network for one clip.

    Attributes:
        d_params: learned parameters of stage 2's two down-sampling blocks (the paper's #D).
        t_params: learned parameters of the whole network (#T).
        flops: forward pass, 2 per multiply-add, of convolutions and linear layers; attention's
            two products, 0.5 to 1.3 % of the total, are left out as the reference's counts do.
    """

    d_params: int
    t_params: int
    flops: int

    @property
    def gflops(self) -> float:
        return self.flops / 1e9


@dataclass
class _Tally:
    params: int = 0
    macs: int = 0

    def conv(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        positions: int,
        bias: bool = False,
        groups: int = 1,
    ) -> None:
        weights = n_in * n_out * kernel // groups
        self.params += weights + n_out * bias
        self.macs += weights * positions

    def norm(self, channels: int) -> None:
        self.params += 2 * channels

    def linear(self, n_in: int, n_out: int, positions: int) -> None:
        self.conv(n_in, n_out, 1, positions, bias=True)

    def add(self, other: _Tally) -> None:
        self.params += other.params
        self.macs += other.macs


def _aa_down(channels: int, frames: int, stride: int) -> _Tally:
    tally = _Tally()
    tally.conv(channels, 2 * channels, stride + 1, frames)
    tally.norm(2 * channels)
    tally.macs += 2 * channels * (2 * stride + 1) * (frames // stride)  # the blur is a buffer
    return tally


def _separable_down(channels: int, frames: int, stride: int) -> _Tally:
    tally = _Tally()
    tally.conv(channels, channels, 2 * stride + 1, frames // stride, groups=channels)
    tally.conv(channels, 2 * channels, 1, frames // stride)
    tally.norm(2 * channels)
    return tally


def _gmme(spec: ModelSpec, channels: int, frames: int) -> _Tally:
    down, tally, positions = spec.downsample, _Tally(), (channels // 2) * (frames // 2)
    lite = down.kind == "gmme-lite"
    n_in, long_side = (1, down.kernel) if lite else (4, down.kernel + 1)
    for n_out, kernel in (
        (down.channels, long_side * 4),
        (down.channels, 4 * long_side),
        (down.channels // 2, 16),
    ):
        tally.conv(n_in, n_out, kernel, positions, bias=lite)
        tally.params += n_out  # PReLU, one slope per channel
    tally.params += down.channels // 2  # the PReLU on the product of the maps
    tally.conv(down.channels // 2, 4, 1, positions, bias=True)
    return tally


def _res_block(channels: int, frames: int) -> _Tally:
    tally = _Tally()
    tally.conv(channels, channels, 1, frames, bias=True)
    tally.conv(channels, channels, 1, frames)
    tally.norm(channels)
    tally.conv(channels, channels, 15, frames, groups=channels)
    tally.norm(channels)
    return tally


def _head(spec: ModelSpec) -> _Tally:
    width, tokens, tally = spec.backbone.embed_dim, spec.tokens + 1, _Tally()
    tally.params += width + tokens * width  # class token, position embedding
    for _ in range(spec.backbone.n_layers):
        tally.linear(width, 3 * width, tokens)
        tally.linear(width, width, tokens)
        tally.linear(width, spec.backbone.feedforward_dim, tokens)
        tally.linear(spec.backbone.feedforward_dim, width, tokens)
        tally.norm(width)
        tally.norm(width)
    tally.norm(width)
    tally.linear(width, spec.n_classes, 1)
    return tally


def count(spec: ModelSpec) -> Complexity:
    """#D, #T and the FLOPs of `spec` (Tables 1 and 2 of the paper)."""
    total, down = _Tally(), _Tally()
    channels, frames = spec.backbone.stem_channels, spec.n_samples
    total.conv(1, channels, 7, frames)
    total.norm(channels)
    light = spec.backbone.stage1 == "separable"
    for index, factor in enumerate(spec.factors):
        total.add((_separable_down if light else _aa_down)(channels, frames, factor))
        channels, frames = 2 * channels, frames // factor
        if index % 2 == 0:
            total.add(_res_block(channels, frames))
    for _ in range(2):
        for _ in range(3):
            total.add(_res_block(channels, frames))
        is_aa = spec.downsample.kind == "aa"
        block = _aa_down(channels, frames, 2) if is_aa else _gmme(spec, channels, frames)
        down.add(block)
        channels, frames = 2 * channels, frames // 2
    total.add(down)
    total.conv(channels, spec.backbone.embed_dim, 1, frames, bias=True)
    total.add(_head(spec))
    return Complexity(down.params, total.params, 2 * total.macs)
