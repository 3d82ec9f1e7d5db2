"""A run that was stopped, killed or refused continues as if nothing had happened."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gmme_edge import files
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import CheckpointError, UsageError
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.training.run import loop
from gmme_edge.training.run.divergence import DIVERGED, TrainingDivergedError
from gmme_edge.training.run.loop import Progress, Trainer
from gmme_edge.training.run.state import STATE
from tests.conftest import TINY
from tests.training.tiny_run import (
    RECIPE,
    SPEC,
    STEPS_PER_EPOCH,
    TOTAL_STEPS,
    make_data,
    make_trainer,
)

ROOT = Path(__file__).parents[2]


class PulledPlugError(Exception):
    pass


def flatten(value: Any) -> dict[str, Any]:  # noqa: ANN401 - nested state
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {"": value}
    return {f"{key}.{rest}": leaf for key, inner in items for rest, leaf in flatten(inner).items()}


def end_of(trainer: Trainer) -> dict[str, Any]:
    """Weights, averages, optimizer and history. Learning rates are left out: each step sets its."""
    state = trainer.state
    return flatten(
        {
            "model": state.model.state_dict(),
            "ema": state.ema.model.state_dict(),
            "optimizer": state.optimizer.state_dict()["state"],
            "history": state.history,
            "step": state.step,
        }
    )


def assert_same_end(trainer: Trainer, wanted: Trainer) -> None:
    """Bit by bit."""
    got, reference = end_of(trainer), end_of(wanted)
    assert set(got) == set(reference) and got["step."] == TOTAL_STEPS
    for key, value in reference.items():
        same = torch.equal(got[key], value) if torch.is_tensor(value) else got[key] == value
        assert same, key


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = make_trainer(tmp_path_factory.mktemp("uninterrupted"))
    trainer.run()
    return trainer


def at_step(step: int, action: Callable[[], None]) -> Callable[[Progress], None]:
    return lambda progress: action() if progress.step == step else None


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def pull_plug() -> None:
    raise PulledPlugError


def test_the_reference_run_is_worth_comparing_with(uninterrupted: Trainer) -> None:
    state = uninterrupted.state
    assert (uninterrupted.steps_per_epoch, state.step) == (STEPS_PER_EPOCH, TOTAL_STEPS)
    assert [entry["epoch"] for entry in state.history] == [1, 2, 3, 4]
    assert all({"loss", "accuracy", "monitor_accuracy"} <= set(entry) for entry in state.history)
    fresh = make_trainer(uninterrupted.out).state.model.state_dict()
    moved = [k for k, v in state.model.state_dict().items() if not torch.equal(v, fresh[k])]
    assert len(moved) > 0.9 * len(fresh)


def test_same_seed_same_run_and_other_seed_another(uninterrupted: Trainer, tmp_path: Path) -> None:
    torch.rand(3)  # the global generator has no part in it
    again = make_trainer(tmp_path / "again")
    again.run()
    assert_same_end(again, uninterrupted)
    other = make_trainer(tmp_path / "other", replace(RECIPE, seed=1))
    other.run()
    weights = [t.state.model.state_dict()["stem.conv.weight"] for t in (other, uninterrupted)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize(
    ("step", "number"),
    [(1, signal.SIGINT), (3, signal.SIGTERM), (5, signal.SIGINT), (11, signal.SIGTERM),
     (12, signal.SIGINT)],
)  # fmt: skip
def test_signal_stops_after_the_step_and_the_run_continues(
    uninterrupted: Trainer, tmp_path: Path, step: int, number: signal.Signals
) -> None:
    """Inside an epoch, at its end, before and at the last step."""
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    first = make_trainer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(at_step(step, send(number)))
    assert first.state.step == step
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    partial = load_checkpoint(tmp_path)
    assert partial.training["finished"] == (step == TOTAL_STEPS)
    assert partial.training["step"] == step
    steps: list[int] = []
    second = make_trainer(tmp_path)
    second.run(lambda progress: steps.append(progress.step))
    assert steps == list(range(step + 1, TOTAL_STEPS + 1))
    assert_same_end(second, uninterrupted)
    assert load_checkpoint(tmp_path).training["finished"]


def test_many_stops(uninterrupted: Trainer, tmp_path: Path) -> None:
    for step in range(2, TOTAL_STEPS, 3):
        with pytest.raises(KeyboardInterrupt):
            make_trainer(tmp_path).run(at_step(step, send(signal.SIGINT)))
    last = make_trainer(tmp_path)
    last.run()
    assert_same_end(last, uninterrupted)


def test_error_between_two_saves_costs_only_the_steps_since(
    uninterrupted: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(PulledPlugError):
        make_trainer(tmp_path).run(at_step(8, pull_plug))
    steps: list[int] = []
    second = make_trainer(tmp_path)
    second.run(lambda progress: steps.append(progress.step))
    assert steps[0] == 8
    assert_same_end(second, uninterrupted)


def test_second_signal_interrupts_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second signal was held back")

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run(at_step(2, twice))
    assert not (tmp_path / STATE).exists()


def test_runs_outside_the_main_thread(uninterrupted: Trainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert_same_end(trainer, uninterrupted)


def test_global_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    make_trainer(tmp_path, replace(RECIPE, epochs=1)).run()
    assert torch.equal(before, torch.random.get_rng_state())


def test_finished_run_called_again_does_nothing(uninterrupted: Trainer) -> None:
    weights = (uninterrupted.out / "model.safetensors").read_bytes()
    again = make_trainer(uninterrupted.out)
    again.run(lambda _: pytest.fail("it trained"))
    assert_same_end(again, uninterrupted)
    assert (uninterrupted.out / "model.safetensors").read_bytes() == weights


def test_checkpoint_holds_the_averaged_weights_and_its_origin(uninterrupted: Trainer) -> None:
    loaded = load_checkpoint(uninterrupted.out)
    averaged = uninterrupted.state.ema.model.state_dict()
    assert all(torch.equal(v, averaged[k]) for k, v in loaded.model.state_dict().items())
    assert loaded.spec == SPEC and loaded.labels == ("low", "high", "noise")
    assert loaded.training["recipe"]["max_lr"] == RECIPE.max_lr
    labels = ["low", "high", "noise"]
    assert loaded.training["data"] == {
        "dataset": "tiny", "fold": 1, "clips": 13, "labels": labels,
    }  # fmt: skip
    assert loaded.training["history"] == uninterrupted.state.history
    names = {path.name for path in uninterrupted.out.iterdir()}
    assert names == {STATE, "model.safetensors", "model.json"}


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run(at_step(2, send(signal.SIGINT)))
    return tmp_path


def of_another_run() -> dict[str, Callable[[Path], Trainer]]:
    described = {"dataset": "tiny", "fold": 2}
    return {
        "recipe.max_lr: saved 0.003, now 0.001": lambda out: make_trainer(
            out, replace(RECIPE, max_lr=1e-3)
        ),
        "recipe.epochs: saved 4, now 5": lambda out: make_trainer(out, replace(RECIPE, epochs=5)),
        "recipe.seed: saved 0, now 1": lambda out: make_trainer(out, replace(RECIPE, seed=1)),
        "data.clips: saved 13, now 14": lambda out: make_trainer(out, data=make_data(14)),
        "data.fold: saved 1, now 2": lambda out: make_trainer(
            out, data=replace(make_data(), description=described)
        ),
        "model.downsample: saved": lambda out: make_trainer(out, spec=TINY),
    }


@pytest.mark.parametrize("difference", of_another_run())
def test_another_run_in_the_folder_is_refused(stopped: Path, difference: str) -> None:
    before = (stopped / STATE).read_bytes()
    trainer = of_another_run()[difference](stopped)
    with pytest.raises(CheckpointError) as caught:
        trainer.run(lambda _: pytest.fail("it trained"))
    assert difference in str(caught.value) and "--restart" in str(caught.value)
    assert (stopped / STATE).read_bytes() == before


def test_restart_begins_again(stopped: Path, uninterrupted: Trainer) -> None:
    steps: list[int] = []
    trainer = make_trainer(stopped)
    trainer.run(lambda progress: steps.append(progress.step), restart=True)
    assert steps == list(range(1, TOTAL_STEPS + 1))
    assert_same_end(trainer, uninterrupted)


def test_restart_replaces_another_run(stopped: Path) -> None:
    trainer = make_trainer(stopped, replace(RECIPE, epochs=1))
    trainer.run(restart=True)
    assert load_checkpoint(stopped).training["recipe"]["epochs"] == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def without_note(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"model.position": torch.zeros(1)}, path)


def half_a_note(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"model.position": torch.zeros(1)}, path, metadata={"run": "{}"})


def without_tensors(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({"model.position": torch.zeros(1)}, path, metadata=metadata)


@pytest.mark.parametrize(
    "damage",
    [cut, without_note, half_a_note, without_tensors, lambda p: p.write_bytes(b""),
     lambda p: p.write_bytes(b"\xff" * 99)],
)  # fmt: skip
def test_damaged_state_is_named(stopped: Path, damage: Callable[[Path], Any]) -> None:
    damage(stopped / STATE)
    with pytest.raises(CheckpointError, match=r"training-state\.safetensors.*\n(.*\n)*.*--restart"):
        make_trainer(stopped).run(lambda _: pytest.fail("it trained"))


def test_full_disk_leaves_the_last_state(
    stopped: Path, uninterrupted: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            make_trainer(stopped).run()
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before
    trainer = make_trainer(stopped)
    trainer.run()
    assert_same_end(trainer, uninterrupted)


def with_nan(store: WaveformStore) -> WaveformStore:
    samples = store.samples.copy()
    samples[:] = np.nan
    return replace(store, samples=samples)


def test_diverging_names_the_clips_and_keeps_the_last_state(stopped: Path) -> None:
    before = (stopped / STATE).read_bytes()
    data = make_data()
    trainer = make_trainer(stopped, data=replace(data, train=with_nan(data.train)))
    with pytest.raises(TrainingDivergedError) as caught:
        trainer.run()
    order = trainer.batches.order(0, 0)[8:12]  # the epoch's third batch
    message = str(caught.value)
    assert "At step 2 the loss is nan" in message and "--lr" in message
    assert all(f"clip-{i}.wav" in message for i in order.tolist())
    assert (stopped / DIVERGED).read_text().split() == [f"clip-{i}.wav" for i in order.tolist()]
    assert (stopped / STATE).read_bytes() == before


def test_a_gradient_that_overflows_stops_before_the_weights_do(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (stopped / STATE).read_bytes()
    trainer = make_trainer(stopped)
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", lambda *_: torch.tensor(torch.inf))
    with pytest.raises(TrainingDivergedError, match="norm inf"):
        trainer.run()
    assert all(v.isfinite().all() for v in trainer.state.model.state_dict().values())
    assert (stopped / STATE).read_bytes() == before


def test_another_order_of_labels_is_another_run(stopped: Path) -> None:
    data = make_data()
    with pytest.raises(CheckpointError, match=r"data\.labels"):
        make_trainer(stopped, data=replace(data, labels=data.labels[::-1])).run()


def test_labels_must_match_the_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 classes, the data 2 labels"):
        make_trainer(tmp_path, data=replace(make_data(), labels=("a", "b")))


@pytest.mark.slow
def test_kill_at_random_moments(uninterrupted: Trainer, tmp_path: Path) -> None:
    """SIGKILL, while every step saves; whatever is on the disk then can be continued."""
    command = [sys.executable, "-m", "tests.training.tiny_run", str(tmp_path)]
    rng, kills = random.Random(0), 0
    for _ in range(4):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(rng.randint(1, 3)):
            process.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
        if (tmp_path / "model.json").exists():
            load_checkpoint(tmp_path)
    assert kills >= 2
    trainer = make_trainer(tmp_path)
    trainer.run()
    assert_same_end(trainer, uninterrupted)


def test_an_epoch_without_its_number_is_refused(tmp_path: Path) -> None:
    """The curves are drawn by it, long after the state was taken over."""
    trainer = make_trainer(tmp_path)
    trainer.state.history = [{"loss": 1.0, "accuracy": 0.5}]
    trainer.state.save(tmp_path, trainer.identity)
    with pytest.raises(CheckpointError, match="without its number"):
        make_trainer(tmp_path).state.load(tmp_path, trainer.identity)
