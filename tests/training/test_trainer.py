"""What a trainer may be given: initial weights, a teacher, a journal, a precision."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.errors import CheckpointError, UsageError
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.training.feed.feed import Batch
from gmme_edge.training.run.divergence import is_finite
from gmme_edge.training.run.journal import METRICS, Journal, read_metrics
from gmme_edge.training.run.progress import Progress
from tests.training.test_resume import assert_same_end, at_step, send
from tests.training.tiny_run import RECIPE, SPEC, make_trainer


def test_start_is_copied_and_keeps_its_statistics(tmp_path: Path) -> None:
    start = EAT(SPEC, dropout=0.3)
    trainer = make_trainer(tmp_path, replace(RECIPE, dropout=0.2), start=start)
    model = trainer.state.model
    torch.testing.assert_close(model.state_dict(), start.state_dict(), rtol=0, atol=0)
    assert {layer.dropout for layer in model.encoder} == {0.2}
    with torch.no_grad():
        model.position.fill_(5)
    assert not start.position.any()
    fresh = make_trainer(tmp_path).state.model.state_dict()
    assert not torch.equal(fresh["stem.norm.running_var"], torch.ones(4)), "seeded by a batch"


def test_teacher_hears_what_the_student_hears(tmp_path: Path) -> None:
    """The first step's loss, mixed clips and all, by hand from the logits."""
    recipe = replace(RECIPE, epochs=1, batch_size=13, mixing_from_epoch=0, dropout=0.0,
                     teacher_weight=0.25, teacher_temperature=3.0)  # fmt: skip
    heard: list[Tensor] = []
    soft = torch.randn(13, 3, generator=torch.Generator().manual_seed(0))

    def teach(waveform: Tensor) -> Tensor:
        heard.append(waveform)
        return soft

    trainer = make_trainer(tmp_path, recipe, teacher=teach)
    student = EAT(SPEC, dropout=0.0)
    student.load_state_dict(trainer.state.model.state_dict())
    batch = trainer.feed.batch(0)
    trainer.run()
    assert batch.mixed and torch.equal(heard[0], batch.waveform[:, None])
    logits = student.train()(heard[0])
    wanted = F.one_hot(batch.targets.first, 3).float()
    second = F.one_hot(batch.targets.second, 3) * (batch.targets.share > 0.1)[:, None]
    wanted = torch.maximum(wanted, second)
    q, p = logits.sigmoid(), (soft / 3).softmax(1)
    hard = -(wanted * q.log() + (1 - wanted) * (1 - q).log()).sum(1).mean()
    divergence = 9 * (p * (p.log() - (logits / 3).log_softmax(1))).sum(1).mean()
    loss = trainer.state.history[0]["loss"]
    assert loss == pytest.approx((0.75 * hard + 0.25 * divergence).item(), rel=1e-5)


def test_teacher_weight_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without a teacher"):
        make_trainer(tmp_path, replace(RECIPE, teacher_weight=0.5))


def test_identity_is_saved_and_checked(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1)
    make_trainer(tmp_path, recipe, identity={"init": {"sha256": "aa"}}).run()
    assert load_checkpoint(tmp_path).training["init"] == {"sha256": "aa"}
    for identity in ({"init": {"sha256": "bb"}}, None):
        with pytest.raises(CheckpointError, match=r"init\.sha256: saved 'aa'"):
            make_trainer(tmp_path, recipe, identity=identity).run()


def test_journal_holds_each_step_once_after_a_stop(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tensorboard=False)
    trainer = make_trainer(tmp_path, journal=journal)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(at_step(5, send(signal.SIGINT)))
    journal.log(6, "step", {"loss": 1.0})  # as of a process that was killed after step 6
    journal.close()
    journal = Journal(tmp_path, tensorboard=False)
    trainer = make_trainer(tmp_path, journal=journal)
    trainer.run()
    journal.close()
    entries = read_metrics(tmp_path / METRICS)
    assert [(e["step"], e["kind"]) for e in entries] == [
        (3, "epoch"), (6, "epoch"), (9, "epoch"), (10, "step"), (12, "epoch"),
    ]  # fmt: skip
    for entry, wanted in zip(
        [e for e in entries if e["kind"] == "epoch"], trainer.state.history, strict=True
    ):
        assert {key: entry[key] for key in wanted} == wanted
    assert {"loss", "lr", "grad_norm", "clips_per_s"} <= set(entries[3])


@pytest.mark.slow
def test_bfloat16_is_near_float32_and_resumes(tmp_path: Path) -> None:
    recipe = replace(RECIPE, dropout=0.0, precision="bf16")
    seen: list[Progress] = []
    whole = make_trainer(tmp_path / "whole", recipe)
    whole.run(seen.append)
    stopped = make_trainer(tmp_path / "stopped", recipe)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(at_step(5, send(signal.SIGTERM)))
    again = make_trainer(tmp_path / "stopped", recipe)
    again.run()
    assert_same_end(again, whole)
    assert all(p.dtype == torch.float32 for p in whole.state.model.parameters())
    exact = make_trainer(tmp_path / "exact", replace(recipe, precision="32"))
    first, _ = exact._step()
    assert seen[0].loss != first and seen[0].loss == pytest.approx(first, rel=0.02)


def test_a_batch_is_a_function_of_the_step(tmp_path: Path) -> None:
    first, second = (make_trainer(tmp_path).feed for _ in range(2))

    def tensors(batch: Batch) -> list[Tensor]:
        return [batch.indices, batch.waveform, batch.targets.second, batch.targets.share]

    backwards = {step: second.batch(step) for step in reversed(range(12))}
    for step in range(12):
        pairs = zip(tensors(first.batch(step)), tensors(backwards[step]), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert backwards[step].mixed == (step >= 6)
    assert len({batch.seed for batch in backwards.values()}) == 12


@pytest.mark.parametrize(
    ("loss", "norm", "scale", "fine"),
    [(1.0, 2.0, 0.0, True), (torch.nan, 2.0, 65536.0, False), (1.0, torch.inf, 0.0, False),
     (1.0, torch.inf, 65536.0, True), (1.0, torch.nan, 1.0, False)],
)  # fmt: skip
def test_an_overflow_is_fine_while_the_loss_is_scaled(
    loss: float, norm: float, scale: float, fine: bool
) -> None:
    assert is_finite(loss, norm, scale) == fine
