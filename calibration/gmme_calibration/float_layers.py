"""The fewest layers in floating point with which a network keeps its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gmme_calibration.sensitivity import noise_per_mac
from gmme_edge.blocks import Layer


@dataclass(frozen=True)
class Budget:
    """What INT8 may cost.

    Attributes:
        max_drop_points: of accuracy, in points of a hundred.
        max_float_macs: the share of the multiply-adds that may stay in floating point.
    """

    max_drop_points: float = 0.5
    max_float_macs: float = 0.1


@dataclass(frozen=True)
class Trial:
    """One choice of floating-point layers and what it was measured to lose."""

    floats: tuple[str, ...]
    float_macs: float
    drop_points: float


@dataclass(frozen=True)
class FloatLayers:
    """The layers that a search leaves in floating point.

    Attributes:
        chosen: the smallest set that was found within the budget; where `met` is false the one
            that lost least.
        trials: everything that was measured, in order.
    """

    budget: Budget
    chosen: Trial
    met: bool
    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_float_layers(
    layers: Sequence[Layer],
    noise: Mapping[str, float],
    drop_points: Callable[[tuple[str, ...]], float],
    budget: Budget,
) -> FloatLayers:
    """Take layers by noise per multiply-add until the accuracy holds; then as few of them as do.

    The number of layers in floating point doubles from none until the drop is within the budget.
    Then it is halved in on: at most 2·log₂(layers) + 2 measurements in all. A layer that would
    exceed the budget of multiply-adds is passed over.

    Args:
        noise: per layer, from `sensitivity.noise_alone`.
        drop_points: floating-point layers by name → the accuracy lost against float32, in points.
    """
    total = sum(layer.macs for layer in layers)
    ranked: list[Layer] = []
    for layer in noise_per_mac(layers, noise):
        if sum(r.macs for r in ranked) + layer.macs <= budget.max_float_macs * total:
            ranked.append(layer)
    trials: list[Trial] = []

    def holds(count: int) -> bool:
        taken = ranked[:count]
        floats = tuple(layer.name for layer in taken)
        share = sum(layer.macs for layer in taken) / total
        trials.append(Trial(floats, share, drop_points(floats)))
        return trials[-1].drop_points <= budget.max_drop_points + 1e-9

    failed, count = -1, 0
    while not (met := holds(count)) and count < len(ranked):
        failed, count = count, min(max(1, 2 * count), len(ranked))
    while met and count - failed > 1:
        middle = (failed + count) // 2
        failed, count = (failed, middle) if holds(middle) else (middle, count)
    if met:
        chosen = next(trial for trial in trials if len(trial.floats) == count)
    else:
        chosen = min(trials, key=lambda trial: (trial.drop_points, trial.float_macs))
    return FloatLayers(budget, chosen, met, tuple(trials))
