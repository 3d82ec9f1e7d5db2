"""What a network is, as data: tasks, backbones, down-sampling blocks, and named presets.

Numbers are those of EAT (arXiv 2204.11479) and of the GMME paper, as `docs/explanation/gmme.md`
settles them.
Nothing here needs torch: the same spec drives training, export, the device runtime and reports.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

from gmme_edge.errors import InputError, UsageError

DownsampleKind = Literal["aa", "gmme", "gmme-lite"]
Stage1Kind = Literal["aa", "separable"]


@dataclass(frozen=True)
class Task:
    """What a model listens to: sample rate, clip length, stage-1 factors and number of classes."""

    name: str
    sample_rate_hz: int
    n_samples: int
    factors: tuple[int, ...]
    n_classes: int


@dataclass(frozen=True)
class Backbone:
    """EAT's widths: `stem_channels` (nf), token width, and the Transformer encoder's shape.

    `stage1` is its kind of down-sampling: EAT's own, or the light one of the ``edge`` family, whose
    convolutions all pad with zeros.
    """

    stem_channels: int
    embed_dim: int
    feedforward_dim: int
    n_layers: int
    n_heads: int
    stage1: Stage1Kind = "aa"

    def __post_init__(self) -> None:
        if self.stage1 not in get_args(Stage1Kind):
            raise UsageError(
                f"Unknown stage 1 {self.stage1!r}.", f"one of {', '.join(get_args(Stage1Kind))}."
            )

    @property
    def sizes(self) -> dict[str, int]:
        """What is a number, by name."""
        return {name: size for name, size in asdict(self).items() if isinstance(size, int)}

    @property
    def padding(self) -> Literal["reflect", "constant"]:
        """How convolutions continue a clip, by torch's names."""
        return "reflect" if self.stage1 == "aa" else "constant"

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Backbone:
        """Rebuild it from `to_dict`'s result."""
        sizes = {name: int(size) for name, size in values.items() if name != "stage1"}
        return Backbone(**sizes, stage1=values.get("stage1", "aa"))

    def to_dict(self) -> dict[str, Any]:
        """As `asdict`; EAT's own stage 1 goes without saying, as in files of before."""
        values = asdict(self)
        return values if self.stage1 != "aa" else {k: v for k, v in values.items() if k != "stage1"}


@dataclass(frozen=True)
class Downsample:
    """The two stride-2 blocks of stage 2; `kernel` (K) and `channels` (C) are 0 for AA."""

    kind: DownsampleKind
    kernel: int = 0
    channels: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(DownsampleKind):
            raise UsageError(
                f"Unknown down-sampling {self.kind!r}.",
                f"one of {', '.join(get_args(DownsampleKind))}.",
            )
        if self.kind != "aa" and (self.kernel < 4 or self.kernel % 2 or self.channels < 2):
            raise UsageError(
                f"{self.kind} cannot have K={self.kernel}, C={self.channels}.",
                "an even K of at least 4 and a C of at least 2.",
            )
        if self.channels % 2:
            raise UsageError(
                f"{self.kind} cannot halve C={self.channels} into gates and maps.", "an even C."
            )

    def __str__(self) -> str:
        return self.kind if self.kind == "aa" else f"{self.kind}-k{self.kernel}c{self.channels}"


TASKS = {
    task.name: task
    for task in (
        Task("esc50", 22_050, 114_688, (4, 4, 4, 4), 50),
        Task("urbansound8k", 22_050, 90_112, (4, 4, 4, 4), 10),
        Task("speech-commands", 16_000, 16_384, (4, 4, 4), 35),
    )
}

BACKBONES = {
    "eat-s": Backbone(16, 128, 512, 4, 8),
    "eat-m": Backbone(32, 256, 2048, 6, 16),
    "eat-s-edge": Backbone(16, 128, 512, 3, 8, "separable"),  # not in either paper
}

_PUBLISHED = ("aa", "gmme-k32c8", "gmme-k32c16", "gmme-k64c16")
_LITE = tuple(f"gmme-lite-k{k}c{c}" for k, c in ((32, 8), (32, 16), (64, 16)))
_EDGE = tuple(f"eat-s-edge-{down}" for down in ("gmme-k32c8", "gmme-lite-k32c8"))
PRESETS = (
    *(f"{backbone}-{down}" for backbone in ("eat-s", "eat-m") for down in _PUBLISHED + _LITE),
    *_EDGE,
)


# Far beyond any network for a device, and small enough to be counted at once.
_LARGEST = {"stem_channels": 1024, "embed_dim": 8192, "feedforward_dim": 65_536, "n_layers": 128,
            "n_heads": 256, "sample_rate_hz": 1_000_000, "n_samples": 1 << 24,
            "n_classes": 100_000, "factors": 64, "stages": 8, "kernel": 4096,
            "channels": 4096}  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """One network, completely: what `EAT(spec)` builds and what a checkpoint records.

    Attributes:
        name: the preset's name, or any name for a custom network.
        factors: strides of stage 1's `Down` blocks.
        n_samples: the waveform's length at `sample_rate_hz`.
    """

    name: str
    backbone: Backbone
    downsample: Downsample
    sample_rate_hz: int
    n_samples: int
    factors: tuple[int, ...]
    n_classes: int

    def __post_init__(self) -> None:
        self._check_bounds()
        sizes = (
            self.sample_rate_hz,
            self.n_samples,
            self.n_classes,
            *self.backbone.sizes.values(),
        )
        if not self.factors or any(f < 2 for f in self.factors) or any(size < 1 for size in sizes):
            raise UsageError(
                f"{self.name}: a size is not positive, or factors {self.factors} are not all >= 2."
            )
        if self.backbone.embed_dim % self.backbone.n_heads:
            raise UsageError(
                f"{self.name}: {self.backbone.n_heads} heads do not divide a width of "
                f"{self.backbone.embed_dim}."
            )
        if self.n_samples < self.min_samples:
            raise UsageError(
                f"{self.name}: a clip of {self.n_samples} samples is too short: its last "
                "dilation-9 block would see fewer than 64 frames.",
                f"at least 64·2·prod(factors) = {self.min_samples} samples.",
                "lengthen the clip or use fewer or smaller factors.",
            )
        if self.n_samples % self.stride:
            raise UsageError(
                f"{self.name}: {self.n_samples} samples are not a whole number of tokens.",
                f"a multiple of the total stride {self.stride}.",
                f"use {math.ceil(self.n_samples / self.stride) * self.stride} samples; "
                "shorter clips are zero-padded.",
            )

    def _check_bounds(self) -> None:
        """Sizes that no device could hold are refused before anything is made of them."""
        sizes = {
            **self.backbone.sizes,
            "sample_rate_hz": self.sample_rate_hz,
            "n_samples": self.n_samples,
            "n_classes": self.n_classes,
            "factors": max(self.factors, default=0),
            "stages": len(self.factors),
            "kernel": self.downsample.kernel,
            "channels": self.downsample.channels,
        }
        for name, size in sizes.items():
            if size > _LARGEST[name]:
                raise UsageError(f"{self.name}: {name} is {size}.", f"at most {_LARGEST[name]}.")

    @property
    def stride(self) -> int:
        """Samples per token: 4·prod(factors)."""
        product: int = math.prod(self.factors)
        return 4 * product

    @property
    def min_samples(self) -> int:
        """The shortest clip that the last block's reflection of 63 frames allows."""
        return 32 * self.stride

    @property
    def tokens(self) -> int:
        return self.n_samples // self.stride

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "backbone": self.backbone.to_dict()}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelSpec:
        """Rebuild a spec from `to_dict`'s result; raises `InputError` where a field is off."""
        try:
            down = values["downsample"]
            return ModelSpec(
                name=str(values["name"]),
                backbone=Backbone.from_dict(values["backbone"]),
                downsample=Downsample(down["kind"], int(down["kernel"]), int(down["channels"])),
                sample_rate_hz=int(values["sample_rate_hz"]),
                n_samples=int(values["n_samples"]),
                factors=tuple(int(f) for f in values["factors"]),
                n_classes=int(values["n_classes"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(
                f"The model's spec is damaged: {type(error).__name__}: {error}.",
                "the fields that ModelSpec.to_dict() writes.",
            ) from error


def parse_preset(name: str) -> tuple[Backbone, Downsample]:
    """Split ``eat-s-gmme-k32c8`` into its backbone and block; any even K and C are accepted."""
    match = re.fullmatch(
        r"(eat-s-edge|eat-[sm])-(?:aa|(gmme|gmme-lite)-k(\d{1,9})c(\d{1,9}))", name
    )
    if match is None:
        raise UsageError(
            f"Unknown model {name!r}.",
            "a preset such as eat-s-aa, eat-s-gmme-k32c8 or eat-s-edge-gmme-lite-k32c8.",
            "list them with `gmme-edge models`.",
        )
    backbone, kind, kernel, channels = match.groups()
    if kind is None:
        return BACKBONES[backbone], Downsample("aa")
    return BACKBONES[backbone], Downsample(cast(DownsampleKind, kind), int(kernel), int(channels))


def preset(name: str, task: str | Task, n_classes: int | None = None) -> ModelSpec:
    """The spec of a preset for a named task or a custom `Task`.

    Args:
        name: one of `PRESETS`, or the same pattern with another even K or C.
        task: a name in `TASKS`, or a custom task.
        n_classes: overrides the task's number of classes (ESC-10 on the ESC-50 task: 10).
    """
    backbone, downsample = parse_preset(name)
    chosen = task if isinstance(task, Task) else get_task(task)
    spec = ModelSpec(
        name,
        backbone,
        downsample,
        chosen.sample_rate_hz,
        chosen.n_samples,
        chosen.factors,
        chosen.n_classes,
    )
    return spec if n_classes is None else replace(spec, n_classes=n_classes)


def get_task(name: str) -> Task:
    if name not in TASKS:
        raise UsageError(f"Unknown task {name!r}.", f"one of {', '.join(TASKS)}.")
    return TASKS[name]
