"""The loop learns, and reports what it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gmme_edge.evaluation import score_store
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.models.eat import EAT, torch_predictor
from gmme_edge.spec import Downsample
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.loop import Progress
from gmme_edge.training.run.optimizer import one_cycle
from tests.conftest import DOWNSAMPLES, TINY
from tests.training.tiny_run import LABELS, RECIPE, make_data, make_sounds, make_trainer


@pytest.mark.slow
@pytest.mark.parametrize("down", DOWNSAMPLES[:2], ids=str)
def test_network_learns(down: Downsample, tmp_path: Path) -> None:
    """Three classes of sounds that it has not heard, with the averaged weights."""
    recipe = Recipe(
        epochs=40, batch_size=8, max_lr=3e-3, ema_unit="step", ema_decay=0.9, augment=False,
        mixing=False,
    )  # fmt: skip
    trainer = make_trainer(
        tmp_path, recipe, make_data(24, monitor=False), replace(TINY, downsample=down)
    )
    trainer.run()
    losses = [entry["loss"] for entry in trainer.state.history]
    # Every CPU rounds sums differently, which is like another seed: with fewer epochs, or with
    # augmentation, some seeds miss what follows.
    assert losses[0] > 0.8 and losses[-1] < 0.6  # blind guessing costs ln 3 = 1.1
    predict = torch_predictor(load_checkpoint(tmp_path).model)
    result = score_store(predict, make_sounds(30, seed=7), TINY.n_samples, LABELS)
    assert result.accuracy > 0.8


def test_first_step_is_adamw_on_the_smoothed_cross_entropy(tmp_path: Path) -> None:
    """One step without augmentation or dropout, repeated by hand from the same start."""
    recipe = replace(
        RECIPE, epochs=1, batch_size=13, augment=False, weight_decay=0.1, gradient_norm=0.05
    )
    trainer = make_trainer(tmp_path, recipe)
    model = EAT(trainer.spec, dropout=0.0)
    model.load_state_dict(trainer.state.model.state_dict())
    for layer in trainer.state.model.encoder:
        layer.dropout = 0.0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    clips = {}

    def remember(*arguments: Any) -> tuple[torch.Tensor, ...]:  # noqa: ANN401 - as take
        clips["batch"] = take(*arguments)
        return clips["batch"]

    take, trainer.batches.take = trainer.batches.take, remember  # type: ignore[method-assign]
    trainer.run()
    waveform, labels = clips["batch"]
    scaled = 0.95 * waveform / waveform.abs().max(dim=1, keepdim=True).values
    logits = model.train()(scaled[:, None])
    target = 0.9 * F.one_hot(labels, 3) + 0.1 / 3
    loss = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    loss.backward()
    assert trainer.state.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    norm = float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())
    rate = one_cycle(0, 1, recipe)
    assert norm > 2 * recipe.gradient_norm, "clipping is to act"
    after = dict(trainer.state.model.named_parameters())
    for name, p in model.named_parameters():
        gradient = p.grad.double() * 0.05 / norm
        # after one step, Adam's mean is 1 - 0.9 of the clipped gradient
        mean = trainer.state.optimizer.state[after[name]]["exp_avg"].double()
        assert torch.allclose(mean, 0.1 * gradient, rtol=1e-3, atol=1e-7), name
        decay = 0.1 * rate if p.ndim >= 2 else 0.0
        # Adam's first step is the gradient over its own size
        wanted = before[name].double() * (1 - decay) - rate * gradient / (gradient.abs() + 1e-8)
        sure = gradient.abs() > 1e-6  # elsewhere rounding decides the sign
        difference = (after[name].detach().double() - wanted).abs()[sure]
        assert not difference.numel() or float(difference.max()) < 0.02 * rate, name


def test_progress_adds_up(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trainer = make_trainer(tmp_path)
    trainer.run(seen.append)
    assert [p.step for p in seen] == list(range(1, 13))
    assert [p.epoch for p in seen] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert all(p.total_steps == 12 and p.clips_per_s > 0 and p.left_s >= 0 for p in seen)
    assert [p.learning_rate for p in seen] == [one_cycle(s, 12, RECIPE) for s in range(12)]
    ends = seen[2::3]
    history = trainer.state.history
    assert [p.loss for p in ends] == [entry["loss"] for entry in history]
    assert [p.accuracy for p in ends] == [entry["accuracy"] for entry in history]
    assert [p.monitor_accuracy for p in ends] == [entry["monitor_accuracy"] for entry in history]
    assert seen[0].monitor_accuracy is None and seen[-1].left_s == 0


def test_monitor_is_scored_with_the_averaged_weights(tmp_path: Path) -> None:
    data = make_data()
    trainer = make_trainer(tmp_path, data=data)
    told: list[tuple[int, int]] = []
    trainer.run(on_scored=lambda done, total: told.append((done, total)))
    assert data.monitor is not None and told == [(6, 6)] * RECIPE.epochs
    predict = torch_predictor(load_checkpoint(tmp_path).model)
    wanted = score_store(predict, data.monitor, trainer.spec.n_samples, LABELS).accuracy
    assert trainer.state.history[-1]["monitor_accuracy"] == wanted


def test_batch_larger_than_the_data_is_one_step_per_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, replace(RECIPE, epochs=2, batch_size=128))
    trainer.run()
    assert (trainer.batch_size, trainer.steps_per_epoch, trainer.state.step) == (13, 1, 2)
