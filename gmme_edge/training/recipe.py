"""Every number of a training run, frozen; it is saved with the checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gmme_edge.errors import UsageError

EmaUnit = Literal["step", "epoch"]

# Below this many epochs, a decay of 0.995 per epoch would still hold the first epochs' weights.
_EPOCHS_FOR_EPOCH_EMA = 300


@dataclass(frozen=True)
class Recipe:
    """EAT's recipe as far as it is built here; defaults are the paper's.

    Attributes:
        max_lr, warmup_fraction: OneCycle per step; AdamW with betas (0.9, 0.99).
        weight_decay: on weights of rank 2 and more.
        gradient_norm: clipping limit.
        ema_decay, ema_unit: decay of the averaged weights per step or per epoch; the reference
            counts epochs, the paper does not say.
        augment: gain, polarity and time shift, each with probability 0.5 per clip.
    """

    epochs: int
    batch_size: int = 128
    max_lr: float = 3e-4
    warmup_fraction: float = 0.1
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-8
    gradient_norm: float = 1.0
    label_smoothing: float = 0.1
    ema_decay: float = 0.995
    ema_unit: EmaUnit = "epoch"
    augment: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or not 0 < self.max_lr < math.inf:
            raise UsageError(
                f"epochs {self.epochs}, batch size {self.batch_size}, LR {self.max_lr}.",
                "positive numbers.",
            )
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}.", "0 or more.")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.label_smoothing < 1:
            raise UsageError(
                f"EMA decay {self.ema_decay}, label smoothing {self.label_smoothing}.",
                "numbers from 0 up to, not including, 1.",
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def default_ema_unit(epochs: int) -> EmaUnit:
    return "epoch" if epochs >= _EPOCHS_FOR_EPOCH_EMA else "step"
