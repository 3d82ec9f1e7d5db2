"""Learning rates, parameter groups and frozen parts against torch and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gmme_edge.models.eat import EAT
from gmme_edge.spec import Downsample
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.optimizer import one_cycle, parameter_groups, set_train_mode
from tests.conftest import TINY

RECIPE = Recipe(epochs=1, weight_decay=0.25)
SPEC = replace(TINY, downsample=Downsample("gmme", 4, 2))  # two encoder layers

# From the input on, and how far each is from the head.
PARTS = {
    "stem": 5, "stage1": 4, "stage2": 3, "project": 3, "class_token": 3, "position": 3,
    "encoder.0": 2, "encoder.1": 1, "norm": 1, "classify": 0,
}  # fmt: skip
FREEZES = {"none": 0, "stem": 1, "stage1": 2, "backbone": 9}


def part_of(name: str) -> str:
    return next(part for part in PARTS if f"{name}.".startswith(f"{part}."))


@pytest.mark.parametrize("total", [11, 20, 37, 100, 1000])
@pytest.mark.parametrize("max_lr", [3e-4, 1.0])
def test_one_cycle_is_torchs(total: int, max_lr: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=max_lr, total_steps=total, pct_start=0.1
    )
    wanted = []
    for _ in range(total):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(wanted) < total:
            scheduler.step()
    recipe = Recipe(epochs=1, max_lr=max_lr)
    got = [one_cycle(step, total, recipe) for step in range(total)]
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=max_lr * 1e-12)
    assert max(got) <= max_lr


@pytest.mark.parametrize("total", range(1, 11))
def test_one_cycle_of_a_few_steps(total: int) -> None:
    """torch divides by zero here; this starts low and stays within the limits."""
    rates = [one_cycle(step, total, Recipe(epochs=1)) for step in range(total)]
    assert rates[0] == pytest.approx(3e-4 / 25)
    assert all(0 < rate <= 3e-4 for rate in rates)


def test_plain_groups_are_weights_and_the_rest() -> None:
    """In the order of the network's parameters, by which a resumed run's moments are numbered."""
    model = EAT(SPEC)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, others = parameter_groups(model, RECIPE)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.25, 0.0)
    assert decayed["lr_scale"] == others["lr_scale"] == 1.0
    assert [id(p) for p in decayed["params"]] == [id(p) for p in model.parameters() if p.ndim >= 2]
    assert [id(p) for p in others["params"]] == [id(p) for p in model.parameters() if p.ndim < 2]
    for p in others["params"]:
        name = names[id(p)]
        assert name.endswith("bias") or "norm" in name or ".act_" in name, name
    assert not any("norm" in names[id(p)] for p in decayed["params"])


@pytest.mark.parametrize("freeze", FREEZES)
def test_layerwise_rates(freeze: str) -> None:
    """Each part learns 0.5 times as fast as the one above it, and a frozen one not at all."""
    model = EAT(SPEC)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, replace(RECIPE, layer_decay=0.5, freeze=freeze))
    learning = list(PARTS)[FREEZES[freeze] :]
    seen = []
    for group in groups:
        for p in group["params"]:
            name = names[id(p)]
            assert group["lr_scale"] == 0.5 ** PARTS[part_of(name)], name
            assert group["weight_decay"] == (0.25 if p.ndim >= 2 else 0.0), name
            seen.append(name)
    assert sorted(seen) == sorted(n for n in names.values() if part_of(n) in learning)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(seen)
    assert len({(g["lr_scale"], g["weight_decay"]) for g in groups}) == len(groups)
    again = parameter_groups(model, replace(RECIPE, layer_decay=0.5, freeze=freeze))
    order = [[id(p) for p in group["params"]] for group in groups]
    assert order == [[id(p) for p in group["params"]] for group in again]


def test_thawing_lets_all_parts_learn_again() -> None:
    model = EAT(SPEC)
    parameter_groups(model, replace(RECIPE, freeze="backbone"))
    assert sum(len(group["params"]) for group in parameter_groups(model, RECIPE)) == len(
        list(model.parameters())
    )
    assert all(p.requires_grad for p in model.parameters())


def descend(model: EAT, recipe: Recipe, steps: int) -> None:
    """A few steps of AdamW as the loop takes them, on noise."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), 1e-2)
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * group["lr_scale"]
        set_train_mode(model, recipe)
        waveform = torch.rand(3, 1, SPEC.n_samples, generator=generator) - 0.5
        F.cross_entropy(model(waveform), torch.arange(3)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("freeze", FREEZES)
def test_frozen_parts_do_not_change_by_a_bit(freeze: str) -> None:
    """Neither weights, which decay too, nor BatchNorm's statistics; every other part does."""
    torch.manual_seed(0)
    model, recipe = EAT(SPEC), replace(RECIPE, freeze=freeze)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    descend(model, recipe, steps=2)
    frozen = list(PARTS)[: FREEZES[freeze]]
    for name, value in model.state_dict().items():
        same = torch.equal(value, before[name])
        if "taps" in name:  # a constant
            assert same
        else:
            assert same == (part_of(name) in frozen), name


def test_frozen_backbone_drops_nothing_out() -> None:
    """The class token that the head learns from is the one that the trained network puts out."""
    torch.manual_seed(0)
    model = EAT(SPEC)
    waveform = torch.rand(2, 1, SPEC.n_samples) - 0.5
    set_train_mode(model, RECIPE)
    model(waveform)  # statistics that are not those of one batch
    with torch.no_grad():
        wanted = model.eval().embed(waveform)
        set_train_mode(model, replace(RECIPE, freeze="backbone"))
        assert model.classify.training and torch.equal(model.embed(waveform), wanted)
        set_train_mode(model, replace(RECIPE, freeze="stage1"))
        assert not torch.equal(model.embed(waveform), wanted)


def test_layerwise_rates_act() -> None:
    """AdamW's first step has the learning rate's size, wherever the gradient is not tiny."""
    torch.manual_seed(0)
    model = EAT(SPEC)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    descend(model, replace(RECIPE, weight_decay=0.0, layer_decay=0.5), steps=1)
    for name, p in model.named_parameters():
        rate = 1e-2 * 0.5 ** PARTS[part_of(name)]
        largest = float((p.detach() - before[name]).abs().max())
        assert largest <= rate * 1.001, name
        if name in ("stem.conv.weight", "stage1.0.conv.weight", "classify.weight"):
            assert largest == pytest.approx(rate, rel=1e-3), name
