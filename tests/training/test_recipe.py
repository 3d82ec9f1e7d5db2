"""Recipes by name, changed by text, and through JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from gmme_edge.errors import UsageError
from gmme_edge.training.recipe import Recipe, named_recipe, override

RECIPE = Recipe(epochs=300)


@pytest.mark.parametrize(
    ("task", "epochs"), [("esc50", 3500), ("urbansound8k", 1500), ("speech-commands", 300)]
)
def test_named_recipes_are_the_defaults(task: str, epochs: int) -> None:
    assert named_recipe(task) == Recipe(epochs=epochs)


def test_short_schedules_average_per_step() -> None:
    assert named_recipe("esc50", 100) == Recipe(epochs=100, ema_unit="step")
    assert named_recipe("esc50", 100, ema_unit="epoch") == Recipe(epochs=100)


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_mixed_precision_raises_epsilon(precision: str) -> None:
    assert named_recipe("esc50", precision=precision).epsilon == 1e-4
    assert named_recipe("esc50", precision=precision, epsilon=1e-6).epsilon == 1e-6


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="esc50, urbansound8k, speech-commands"):
        named_recipe("esc-50")
    with pytest.raises(UsageError, match=r"no lr(.|\n)*max_lr"):
        named_recipe("esc50", lr=1e-3)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("max_lr=1e-3", {"max_lr": 1e-3}),
        ("epochs=7", {"epochs": 7}),
        ("mixing=off", {"mixing": False}),
        (" noise = True ", {"noise": True}),
        ("compile=1", {"compile": True}),
        ("betas=0.8,.95", {"betas": (0.8, 0.95)}),
        ("resample_factors=0.5", {"resample_factors": (0.5,)}),
        ("resample_factors=", {"resample_factors": ()}),
        ("ema_unit=step", {"ema_unit": "step"}),
        ("precision=bf16", {"precision": "bf16"}),
    ],
)
def test_override(text: str, changes: dict[str, object]) -> None:
    assert override(RECIPE, [text]) == replace(RECIPE, **changes)  # type: ignore[arg-type]


def test_overrides_come_one_after_the_other() -> None:
    assert override(RECIPE, []) == RECIPE
    assert override(RECIPE, ["seed=1", "dropout=0", "seed=2"]) == replace(RECIPE, seed=2, dropout=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr=1", "no lr"), ("max_lr", "name=value"), ("=1", "has no"), ("epochs=1.5", "whole"),
        ("epochs=", "whole"), ("max_lr=fast", "a number"), ("mixing=maybe", "true or false"),
        ("betas=0.9", "two numbers"), ("betas=0.9,1", "two numbers"), ("betas=a,b", "0.9,0.99"),
        ("freeze=all", "none, stem, stage1, backbone"), ("precision=8", "32, bf16, 16"),
        ("ema_unit=day", "step, epoch"), ("dropout=1", "below|not including"),
        ("augment_probability=1.1", "0 to 1"), ("mask_s=-1", "from 0"), ("shift_s=inf", "from 0"),
        ("gain_high=0.4", "gain_low"), ("noise_snr_db=36", "noise_snr_max_db"),
        ("noise_snr_db=nan", "decibels"), ("resample_factors=0", "0.1 to 10"),
        ("stft_s=0", "positive"), ("layer_decay=0", "positive"), ("max_lr=nan", "positive"),
        ("label_smoothing=nan", "from 0"), ("mixing_from_epoch=-1", "from 0"),
    ],
)  # fmt: skip
def test_impossible_overrides(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        override(RECIPE, [text])


def test_an_unknown_name_is_answered_with_all() -> None:
    with pytest.raises(UsageError) as error:
        override(RECIPE, ["speed=1"])
    assert all(field.name in str(error.value) for field in fields(Recipe))


def test_through_json() -> None:
    recipe = named_recipe("urbansound8k", 40, betas=(0.8, 0.9), precision="16", seed=3)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert Recipe.from_dict({"epochs": 300}) == RECIPE  # as an older version wrote it
    with pytest.raises(UsageError, match="no colour"):
        Recipe.from_dict({"epochs": 3, "colour": "red"})
    with pytest.raises(UsageError, match="positive"):
        Recipe.from_dict({"epochs": 0})
