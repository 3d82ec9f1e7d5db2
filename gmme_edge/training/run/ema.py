"""Exponential moving average of a network's weights and BatchNorm statistics."""

from __future__ import annotations

import copy

import torch
from torch import nn

from gmme_edge.models.eat import EAT
from gmme_edge.training.recipe import Recipe


class Ema:
    """Averaged copy of `model`, updated once per step.

    With unit ``epoch`` the decay of one step is ``decay ** (1 / steps_per_epoch)`` and 0 in the
    first two epochs (the reference); with unit ``step`` it is `decay`, ramped up as
    ``(1 + t) / (10 + t)`` so that the initial weights are forgotten.
    """

    def __init__(self, model: EAT, recipe: Recipe, steps_per_epoch: int) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._recipe, self._steps_per_epoch = recipe, steps_per_epoch

    def decay(self, step: int) -> float:
        """Decay of the update after step number `step`, counted from 0."""
        if self._recipe.ema_unit == "step":
            return min(self._recipe.ema_decay, (1 + step) / (10 + step))
        if step < 2 * self._steps_per_epoch:
            return 0.0
        return float(self._recipe.ema_decay ** (1 / self._steps_per_epoch))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        weight = 1.0 - self.decay(step)
        own, new = self.model.state_dict(), model.state_dict()
        averaged = [key for key, value in new.items() if value.is_floating_point()]
        copied = [key for key in new if key not in set(averaged)]  # counters
        torch._foreach_lerp_([own[k] for k in averaged], [new[k] for k in averaged], weight)
        torch._foreach_copy_([own[k] for k in copied], [new[k] for k in copied])
