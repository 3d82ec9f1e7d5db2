"""A batch in parts: the same gradients, and memory told before it is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gmme_edge.errors import PlatformError
from gmme_edge.spec import preset
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run import start
from gmme_edge.training.run.accumulation import split_rows
from gmme_edge.training.run.loop import Place
from gmme_edge.training.run.memory import activation_bytes, fitting_micro_batch
from tests.training.tiny_run import RECIPE, make_data, make_trainer


def test_parts_are_even_and_make_up_the_batch() -> None:
    assert split_rows(10, None) == [slice(0, 10)]
    assert split_rows(10, 4) == [slice(0, 3), slice(3, 6), slice(6, 10)]


def test_parts_add_up_to_the_gradients_of_the_whole(tmp_path: Path) -> None:
    """Where BatchNorm's statistics are fixed, as they are in a frozen backbone."""
    recipe = replace(RECIPE, dropout=0.0, freeze="backbone", mixing=False)
    found = []
    for place in (Place(), Place(micro_batch=1)):
        trainer = make_trainer(tmp_path, recipe, place=place)
        trainer._step()
        head = trainer.state.model.classify.weight
        assert head.grad is not None
        found.append(head.grad.clone())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_stopped_run_in_parts_goes_on_with_them(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, replace(RECIPE, epochs=1), place=Place(micro_batch=2))
    assert len(trainer.parts) == 2
    trainer.run()
    again = make_trainer(tmp_path, replace(RECIPE, epochs=1), place=Place(micro_batch=2))
    again.run()
    assert again.state.micro_batch == 2


def test_a_fresh_network_is_seeded_on_a_few_clips_of_a_large_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 128 clips in one pass may not fit, however small the parts of a batch are."""
    seen: list[int] = []
    seed = start.seed_batch_norm
    monkeypatch.setattr(
        start, "seed_batch_norm", lambda model, clips: (seen.append(len(clips)), seed(model, clips))
    )
    make_trainer(tmp_path, replace(RECIPE, batch_size=60), make_data(64))
    assert seen == [32]


def test_memory_is_forecast_before_a_step() -> None:
    spec, recipe = preset("eat-s-aa", "esc50"), Recipe(epochs=1)
    assert 150e6 < activation_bytes(spec) < 300e6  # 245 MB at the peak were measured
    assert fitting_micro_batch(spec, recipe, 128, 10**12) is None
    fits = fitting_micro_batch(spec, recipe, 128, 23 * 10**9)
    assert fits is not None and 32 <= fits < 128
    with pytest.raises(PlatformError, match="--micro-batch 1"):
        fitting_micro_batch(spec, recipe, 128, 10**8)
