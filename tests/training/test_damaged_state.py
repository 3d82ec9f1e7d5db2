"""A training state of before, and a damaged one: continued, or refused with nothing changed."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from gmme_edge.errors import CheckpointError
from gmme_edge.training.run.journal import METRICS, Journal, read_metrics
from gmme_edge.training.run.loop import Trainer
from gmme_edge.training.run.state import STATE, saved_micro_batch
from tests.training.test_resume import assert_same_end, at_step, send
from tests.training.tiny_run import RECIPE, make_trainer

# What the tiny run's state noted before there were parts of batches, word for word.
OLD_IDENTITY = json.loads("""
{"model": {"name": "tiny", "backbone": {"stem_channels": 4, "embed_dim": 32, "feedforward_dim":
64, "n_layers": 2, "n_heads": 4}, "downsample": {"kind": "gmme", "kernel": 4, "channels": 2},
"sample_rate_hz": 8000, "n_samples": 8192, "factors": [4, 4, 4], "n_classes": 3}, "recipe":
{"epochs": 4, "batch_size": 4, "max_lr": 0.003, "warmup_fraction": 0.1, "weight_decay": 1e-05,
"betas": [0.9, 0.99], "epsilon": 1e-08, "gradient_norm": 1.0, "label_smoothing": 0.1, "ema_decay":
0.995, "ema_unit": "step", "dropout": 0.1, "crop_energy": 0.5, "augment": true,
"augment_probability": 0.5, "gain_low": 0.5, "gain_high": 1.3, "shift_s": 0.1, "mask_s": 0.1,
"segment_s": 0.1, "segment_gain_low": 0.5, "segment_gain_high": 1.3, "noise": true,
"noise_snr_db": 30.0, "noise_snr_max_db": 35.0, "noise_sine_hz": 50.0, "resample_probability":
0.5, "resample_factors": [0.8, 0.9, 1.1, 1.2], "mixing": true, "mixing_from_epoch": 2,
"mixing_min_share": 0.1, "stft_s": 0.02, "freeze": "none", "layer_decay": 1.0, "teacher_weight":
0.0, "teacher_temperature": 2.0, "qat": "off", "qat_float": "front", "qat_clips": 128,
"precision": "32", "compile": false, "seed": 0}, "data": {"dataset": "tiny", "fold": 1, "clips":
13, "labels": ["low", "high", "noise"]}}
""")
DEEP = "[" * 100_000
DAMAGES = (None, True, "x", [], {}, [[]], -1, 0.5, math.nan, math.inf, 1 << 70, [None], {"a": None})
KEYS = ("identity", "step", "history", "running", "loss_scale", "micro_batch")
QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["run"])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After four steps: one in the second epoch, so that every note holds something."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        make_trainer(folder).run(at_step(4, send(signal.SIGINT)))
    return folder


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """To load states into; it never trains."""
    return make_trainer(tmp_path_factory.mktemp("loader"))


def test_a_state_of_before_continues_to_the_same_weights(stopped: Path, tmp_path: Path) -> None:
    tensors, note = read(stopped / STATE)
    old = {key: note[key] for key in ("step", "history", "running", "loss_scale")}
    metadata = {"run": json.dumps({"identity": OLD_IDENTITY, **old})}
    save_file(tensors, tmp_path / STATE, metadata=metadata)
    continued, whole = make_trainer(tmp_path), make_trainer(tmp_path / "whole")
    continued.run()
    whole.run()
    assert_same_end(continued, whole)
    assert saved_micro_batch(tmp_path) == (True, None)


def damaged(note: dict[str, Any], key: str, inner: int, value: object, drop: bool) -> str:
    """`note` with `key`, or one entry within it, replaced or dropped; as JSON."""
    copy = json.loads(json.dumps(note))
    place: Any = copy
    if inner and isinstance(copy[key], list) and copy[key]:
        copy[key][0] = value if drop else {**copy[key][0], "loss": value}
    elif inner and isinstance(copy[key], dict) and copy[key]:
        names = sorted(copy[key])
        place, key = copy[key], names[inner % len(names)]
    if place is copy and inner and isinstance(copy.get(key), list):
        return json.dumps(copy)
    if drop:
        del place[key]
    else:
        place[key] = value
    return json.dumps(copy)


@QUICK
@example("running", 1, math.nan, False)
@example("history", 0, None, False)
@example("step", 0, 1 << 70, False)
@given(st.sampled_from(KEYS), st.integers(0, 3), st.sampled_from(DAMAGES), st.booleans())
def test_damaged_notes_are_refused_and_nothing_is_taken_over(
    stopped: Path, trainer: Trainer, tmp_path: Path, key: str, inner: int, value: object, drop: bool
) -> None:
    tensors, note = read(stopped / STATE)
    save_file(tensors, tmp_path / STATE, metadata={"run": damaged(note, key, inner, value, drop)})
    before = (trainer.state.step, list(trainer.state.history), dict(trainer.state.running))
    weights = {k: v.clone() for k, v in trainer.state.model.state_dict().items()}
    try:
        saved_micro_batch(tmp_path)
        trainer.state.load(tmp_path, trainer.identity)
    except CheckpointError as error:
        assert STATE in str(error) and "--restart" in str(error)
        assert error.exit_code == 3
        assert (trainer.state.step, trainer.state.history, trainer.state.running) == before
        after = trainer.state.model.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in weights.items())
        return
    figures = [*trainer.state.running.values()]
    figures += [v for entry in trainer.state.history for v in entry.values()]
    assert all(math.isfinite(figure) for figure in figures)
    trainer.state.step, trainer.state.history = 0, []  # for the next example


@pytest.mark.parametrize("text", [DEEP, "null", "[]", "3", "", '{"identity": 1e999}'])
def test_notes_that_are_no_notes_are_refused(
    stopped: Path, trainer: Trainer, tmp_path: Path, text: str
) -> None:
    tensors, _ = read(stopped / STATE)
    save_file(tensors, tmp_path / STATE, metadata={"run": text})
    with pytest.raises(CheckpointError, match="--restart"):
        saved_micro_batch(tmp_path)
    with pytest.raises(CheckpointError, match="--restart"):
        trainer.state.load(tmp_path, trainer.identity)


TENSOR_DAMAGES = [
    ("optimizer.0.exp_avg", None),
    ("optimizer.0.exp_avg", torch.zeros(1)),
    ("optimizer.0.step", torch.tensor(math.nan)),
    ("optimizer.99999.step", torch.tensor(1.0)),
    ("optimizer.x.step", torch.tensor(1.0)),
    ("model.position", None),
    ("ema.position", torch.tensor([math.inf])),
]


@pytest.mark.parametrize(("key", "value"), TENSOR_DAMAGES)
def test_damaged_tensors_are_refused_and_nothing_is_taken_over(
    stopped: Path, trainer: Trainer, tmp_path: Path, key: str, value: torch.Tensor | None
) -> None:
    tensors, note = read(stopped / STATE)
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    save_file(tensors, tmp_path / STATE, metadata={"run": json.dumps(note)})
    step = trainer.state.step
    with pytest.raises(CheckpointError, match="--restart"):
        trainer.state.load(tmp_path, trainer.identity)
    assert trainer.state.step == step


@QUICK
@example("elapsed_s", "1e999")
@example("step", DEEP)
@given(
    st.sampled_from(("step", "kind", "elapsed_s", "loss")),
    st.sampled_from(("null", "true", '"x"', "[]", "{}", "NaN", "1e999", "-1e999", DEEP, "")),
)
def test_damaged_lines_of_metrics_cost_no_run(tmp_path: Path, key: str, value: str) -> None:
    good = {"step": 3, "kind": "step", "elapsed_s": 2.0, "loss": 1.0}
    line = json.dumps({**good, key: "@"}).replace('"@"', value)
    (tmp_path / METRICS).write_text(f"{json.dumps(good)}\n{line}\n")
    assert read_metrics(tmp_path / METRICS)[0] == good
    journal = Journal(tmp_path, tensorboard=False)
    journal.rewind(3)
    assert math.isfinite(journal.elapsed_s)


def test_a_changed_recipe_is_another_run_not_a_damaged_one(stopped: Path) -> None:
    with pytest.raises(CheckpointError, match=r"recipe\.seed: saved 0, now 7"):
        make_trainer(stopped, replace(RECIPE, seed=7)).run()
