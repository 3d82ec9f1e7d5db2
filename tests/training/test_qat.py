"""Quantization-aware runs: they begin from a trained network, resume, and end as a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from gmme_edge.cli.app import app
from gmme_edge.errors import CheckpointError, UsageError
from gmme_edge.models.checkpoint import Checkpoint, load_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.training.fake_quantization import FakeQuantizer
from gmme_edge.training.recipe import QAT_CHANGES, QAT_EPOCHS, Recipe
from gmme_edge.training.run.loop import Progress, Trainer
from gmme_edge.training.run.start import check_trained
from gmme_edge.workflows.settings.training import RecipeSettings, TransferSettings
from gmme_edge.workflows.training_plan import build_recipe
from gmme_exporters.bundle import export_bundle
from gmme_exporters.options import ExportOptions
from tests.artifacts import calibration, small_checkpoint, sounds, torch_logits, write_words
from tests.training.tiny_run import LABELS, RECIPE, SPEC, make_trainer

QAT = replace(RECIPE, qat="int8-ort", epochs=2, max_lr=1e-3, mixing=False, qat_clips=8)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> EAT:
    out = tmp_path_factory.mktemp("start")
    make_trainer(out, replace(RECIPE, epochs=1)).run()
    return load_checkpoint(out).model


def qat_run(out: Path, start: EAT, recipe: Recipe = QAT) -> Trainer:
    return make_trainer(out, recipe, start=start)


@pytest.fixture(scope="module")
def whole(start: EAT, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = qat_run(tmp_path_factory.mktemp("whole"), start)
    trainer.run()
    return trainer


def test_it_trains_weights_but_no_statistics_and_no_ranges(whole: Trainer, start: EAT) -> None:
    before, after = start.state_dict(), whole.state.model.state_dict()
    fixed = {key for key in before if torch.equal(before[key], after[key])}
    statistics = ("running_mean", "running_var", "num_batches_tracked", "taps")
    assert fixed == {key for key in before if key.endswith(statistics)}
    again = qat_run(whole.out, start).state.model.state_dict()
    ranges = [key for key in after if key not in before]
    assert ranges and all(torch.equal(after[key], again[key]) for key in ranges)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_ends_with_the_same_bits(
    whole: Trainer, start: EAT, tmp_path: Path, step: int
) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    stopped = qat_run(tmp_path, start)
    stopped.save()
    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    stopped.save()
    second = qat_run(tmp_path, start)
    second.run()
    for got, wanted in (
        (second.state.model, whole.state.model), (second.state.ema.model, whole.state.ema.model),
    ):  # fmt: skip
        values = wanted.state_dict()
        assert all(torch.equal(v, values[k]) for k, v in got.state_dict().items())
    assert second.state.history == whole.state.history


def test_the_checkpoint_is_an_ordinary_one(whole: Trainer, start: EAT) -> None:
    checkpoint = load_checkpoint(whole.out)
    assert checkpoint.spec == start.spec
    assert list(checkpoint.model.state_dict()) == list(start.state_dict())
    assert not any(isinstance(module, FakeQuantizer) for module in checkpoint.model.modules())
    assert checkpoint.training["recipe"]["qat"] == "int8-ort"
    norms = [m for m in whole.state.ema.model.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms and not any(norm.training for norm in norms)


def test_ranges_are_the_same_on_every_process(start: EAT, tmp_path: Path) -> None:
    """They are a function of the seed, not of the rows that a process takes."""
    states = [qat_run(tmp_path, start).state.model.state_dict() for _ in range(2)]
    other = qat_run(tmp_path, start, replace(QAT, seed=1)).state.model.state_dict()
    scales = [key for key in other if key.endswith(".scale")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in scales)
    assert not all(torch.equal(states[0][key], other[key]) for key in scales)


def test_without_a_trained_network_it_is_refused(start: EAT, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--init"):
        make_trainer(tmp_path, QAT)
    with pytest.raises(CheckpointError, match="random weights"):
        check_trained(Checkpoint(EAT(SPEC), LABELS, {"untrained": True}), LABELS)
    with pytest.raises(CheckpointError, match="does not know bird"):
        check_trained(Checkpoint(start, LABELS), ("low", "bird"))
    check_trained(Checkpoint(start, LABELS), LABELS[::-1])
    with pytest.raises(UsageError, match="precision 32"):
        replace(QAT, precision="bf16")
    with pytest.raises(UsageError, match=r"no block stage7\.0"):
        qat_run(tmp_path, start, replace(QAT, qat_float="stage7.0"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


def command(words: Path, out: Path, *more: str) -> Result:
    flags = ["train", "--qat", "--dataset", "speech-commands", "--data", str(words),
             "--threads", "1", "--device", "cpu", "--no-tensorboard", "--sample-rate", "8000",
             "--samples", "1024", "--factors", "2,2", "--batch-size", "4",
             "-o", str(out), "--json"]  # fmt: skip
    return CliRunner().invoke(app, [*flags, *more])


def succeed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


@pytest.fixture(scope="module")
def commanded(root: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("commanded") / "out"
    refused = command(words, out)
    assert refused.exit_code == 2 and "--qat without --init" in refused.stderr
    figures = succeed(command(words, out, "--init", str(small_checkpoint(root))))
    assert figures["epoch"] == QAT_EPOCHS
    return out


def test_the_command_has_its_own_recipe(commanded: Path) -> None:
    recipe = load_checkpoint(commanded).training["recipe"]
    assert {key: recipe[key] for key in QAT_CHANGES} == {**QAT_CHANGES, "batch_size": 4}
    chosen = TransferSettings(init="init", qat=True, teacher="another")
    assert build_recipe("esc50", RecipeSettings(), chosen).teacher_weight == 0.5


def test_the_network_to_start_from_is_the_teacher(
    root: Path, words: Path, commanded: Path, tmp_path: Path
) -> None:
    init = str(small_checkpoint(root))
    succeed(command(words, tmp_path / "named", "--init", init, "--teacher", init,
                    "--teacher-weight", "1"))  # fmt: skip
    succeed(command(words, tmp_path / "labels", "--init", init, "--teacher-weight", "0"))
    own, named, by_labels = (
        torch_logits(load_checkpoint(folder).model, sounds())
        for folder in (commanded, tmp_path / "named", tmp_path / "labels")
    )
    assert (own == named).all() and not (own == by_labels).any()


@pytest.mark.slow
def test_the_result_exports_to_both_flavours(commanded: Path, tmp_path: Path) -> None:
    options = ExportOptions(("int8-ort", "int8-tensorrt"))
    checkpoint = load_checkpoint(commanded)
    bundle = export_bundle(checkpoint, tmp_path / "bundle", options, sounds(), calibration())
    assert set(bundle.precisions) == {"int8-ort", "int8-tensorrt"}
    assert all(figures["top1_agreement"] >= 0.5 for figures in bundle.manifest.parity.values())
