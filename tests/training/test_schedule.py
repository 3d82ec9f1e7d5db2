"""Averaged weights against numpy; the recipe's limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmme_edge.errors import UsageError
from gmme_edge.models.eat import EAT
from gmme_edge.training.recipe import Recipe, default_ema_unit
from gmme_edge.training.run.ema import Ema
from tests.conftest import TINY


def test_epoch_decay() -> None:
    """0 in two epochs; afterwards one epoch's steps together decay by 0.995."""
    ema = Ema(EAT(TINY), Recipe(epochs=300, ema_unit="epoch"), steps_per_epoch=7)
    assert [ema.decay(step) for step in range(14)] == [0.0] * 14
    assert np.prod([ema.decay(step) for step in range(14, 21)]) == pytest.approx(0.995)
    assert ema.decay(10_000) == ema.decay(14)


def test_step_decay() -> None:
    ema = Ema(EAT(TINY), Recipe(epochs=1, ema_unit="step"), steps_per_epoch=7)
    assert ema.decay(0) == pytest.approx(0.1)
    assert ema.decay(90) == pytest.approx(91 / 100)
    assert ema.decay(1789) < 0.995 == ema.decay(1790) == ema.decay(10**6)
    decays = [ema.decay(step) for step in range(2000)]
    assert decays == sorted(decays)


@pytest.mark.parametrize(("epochs", "unit"), [(1, "step"), (299, "step"), (300, "epoch")])
def test_default_unit(epochs: int, unit: str) -> None:
    assert default_ema_unit(epochs) == unit


@pytest.mark.parametrize("unit", ["step", "epoch"])
def test_update_is_the_recursion(unit: str) -> None:
    """a ← decay·a + (1 - decay)·w for weights and BatchNorm statistics; counters are copied."""
    model, rng = EAT(TINY), np.random.default_rng(0)
    ema = Ema(model, Recipe(epochs=9, ema_decay=0.9, ema_unit=unit), 3)  # type: ignore[arg-type]
    names = ("stem.conv.weight", "stem.norm.running_var", "classify.bias", "position")
    state = model.state_dict()
    averaged = {name: state[name].double().numpy().copy() for name in names}
    for step in range(12):
        with torch.no_grad():
            for name in names:
                state[name].copy_(torch.from_numpy(rng.normal(size=state[name].shape)))
            state["stem.norm.num_batches_tracked"].add_(1)
        ema.update(model, step)
        if unit == "step":
            decay = min(0.9, (1 + step) / (10 + step))
        else:
            decay = 0.0 if step < 6 else 0.9 ** (1 / 3)
        for name in names:
            averaged[name] = decay * averaged[name] + (1 - decay) * state[name].double().numpy()
    got = ema.model.state_dict()
    for name in names:
        np.testing.assert_allclose(got[name], averaged[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert int(got["stem.norm.num_batches_tracked"]) == 12
    assert not torch.equal(got["position"], state["position"]), "the model's own was to differ"


def test_average_is_a_copy_in_eval_mode() -> None:
    model = EAT(TINY)
    ema = Ema(model, Recipe(epochs=1), 3)
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())
    with torch.no_grad():
        model.position.fill_(5)
    assert not ema.model.position.any()
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 0}, {"max_lr": 0.0}, {"max_lr": float("nan")},
     {"max_lr": float("inf")}, {"ema_decay": 1.0}, {"ema_decay": float("nan")},
     {"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"seed": -1}],
    ids=str,
)  # fmt: skip
def test_impossible_recipes(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Recipe(**{"epochs": 1, **changes})  # type: ignore[arg-type]


def test_defaults_are_the_papers() -> None:
    recipe = Recipe(epochs=300)
    assert (recipe.batch_size, recipe.max_lr, recipe.warmup_fraction) == (128, 3e-4, 0.1)
    assert (recipe.betas, recipe.epsilon, recipe.weight_decay) == ((0.9, 0.99), 1e-8, 1e-5)
    assert (recipe.gradient_norm, recipe.label_smoothing) == (1.0, 0.1)
    assert (recipe.ema_decay, recipe.ema_unit, recipe.augment) == (0.995, "epoch", True)
