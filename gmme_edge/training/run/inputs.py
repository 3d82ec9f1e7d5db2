"""What a run is given beside its network and recipe: clips, a place, and a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gmme_edge.data.store import WaveformStore
from gmme_edge.models.eat import EAT

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class TrainingData:
    """Stored clips to train on and, if given, clips to watch the averaged weights on.

    `description` says which data set and split these are; it is saved with the checkpoint, and a
    continuation must agree on it. `facts` are saved with the checkpoint too.
    """

    train: WaveformStore
    monitor: WaveformStore | None
    labels: tuple[str, ...]
    description: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a run computes.

    Attributes:
        device: where there is no Fabric, which else brings its own.
        micro_batch: how many clips of a process one pass holds; None for all. Gradients add up
            to those of the whole batch, but BatchNorm sees each part alone
            (docs/explanation/training.md).
    """

    device: str = "cpu"
    fabric: Fabric | None = None
    micro_batch: int | None = None


@dataclass(frozen=True)
class Start:
    """What a run begins with, beside its recipe.

    Attributes:
        weights: the initial network; a fresh one otherwise.
        teacher: peak-scaled waveforms ``(B, 1, N)`` on the device → logits, for distillation.
        identity: what else a continuation must agree on, such as the names and hashes of the
            weights and of the teacher; saved with the checkpoint.
    """

    weights: EAT | None = None
    teacher: Callable[[Tensor], Tensor] | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
