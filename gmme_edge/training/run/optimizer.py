"""What AdamW is given: parameter groups, learning rates per layer, frozen parts, OneCycle."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from gmme_edge.models.eat import EAT
from gmme_edge.training.recipe import Recipe

# How many of `_parts`, from the input on, `Recipe.freeze` keeps as they are.
_FROZEN = {"none": 0, "stem": 1, "stage1": 2, "backbone": -1}


def _parts(model: EAT) -> list[tuple[str, ...]]:
    """The network from its input to its head: prefixes of the names of each part."""
    middle = ("stage2.", "project.", "class_token", "position")
    last = len(model.encoder) - 1
    encoder = [(f"encoder.{i}.",) for i in range(last)] + [(f"encoder.{last}.", "norm.")]
    return [("stem.",), ("stage1.",), middle, *encoder, ("classify.",)]


def _frozen(model: EAT, recipe: Recipe) -> tuple[str, ...]:
    return sum(_parts(model)[: _FROZEN[recipe.freeze]], ())


def parameter_groups(model: EAT, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups, each with its ``lr_scale``; frozen parts stop requiring gradients.

    Weights of rank 2 and more decay, the rest do not. The head learns at scale 1, and each part
    below it (an encoder layer, stage 2 with the tokens, stage 1, the stem) at `layer_decay` times
    the scale of the part above (BEiT, arXiv 2106.08254). The order depends on the recipe alone.
    """
    frozen, parts = _frozen(model, recipe), _parts(model)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
        if not parameter.requires_grad:
            continue
        depth = next(i for i, prefixes in enumerate(parts) if name.startswith(prefixes))
        scale, decays = recipe.layer_decay ** (len(parts) - 1 - depth), parameter.ndim >= 2
        weight_decay = recipe.weight_decay if decays else 0.0
        empty = {"params": [], "weight_decay": weight_decay, "lr_scale": scale}
        groups.setdefault((scale, decays), empty)["params"].append(parameter)
    return list(groups.values())


def set_train_mode(model: EAT, recipe: Recipe) -> None:
    """Train mode, but frozen parts keep their BatchNorm statistics and drop nothing out.

    With `Recipe.qat` every BatchNorm keeps them, since export folds them into the weights.
    """
    model.train()
    frozen = _frozen(model, recipe)
    for name, module in model.named_modules():
        fixed = recipe.qat != "off" and isinstance(module, nn.BatchNorm1d)
        if fixed or f"{name}.".startswith(frozen):
            module.eval()


def one_cycle(step: int, total_steps: int, recipe: Recipe) -> float:
    """OneCycle's learning rate (cosine up over the warm-up, cosine down to almost 0).

    As torch's `OneCycleLR` with its default divisors, but a function of the step alone.
    """
    initial, final = recipe.max_lr / 25, recipe.max_lr / 25 / 1e4
    peak = max(recipe.warmup_fraction * total_steps - 1, 1e-9)
    if step <= peak:
        low, high, share = initial, recipe.max_lr, step / peak
    else:
        low, high = recipe.max_lr, final
        share = (step - peak) / max(total_steps - 1 - peak, 1e-9)
    return high + (low - high) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
