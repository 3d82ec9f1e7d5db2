"""`gmme-edge train --folds`: every fold trained and scored, whatever stops it on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.data.cache import list_entries
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.training.cross_validation import RESULT
from gmme_edge.training.run import loop
from gmme_edge.training.run.journal import METRICS, Journal, read_metrics

STEPS = 4  # two epochs of two steps: 12 clips in batches of 6


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips of each of three classes, which makes five folds of three."""
    root, rng = tmp_path_factory.mktemp("folds"), np.random.default_rng(0)
    for label, hz in (("high", 2000), ("low", 200), ("noise", 0)):
        (root / "data" / label).mkdir(parents=True)
        for i in range(5):
            tone = np.sin(2 * np.pi * hz * np.arange(2000) / 8000 + i)
            path = root / "data" / label / f"{i}.wav"
            soundfile.write(path, 0.3 * tone + 0.05 * rng.normal(size=2000), 8000)
    return root / "data"


def train(data: Path, out: Path, *flags: str, folds: str = "1,2,4") -> Result:
    fixed = [
        "train", "--dataset", "folder", "--data", str(data), "--task", "speech-commands",
        "--sample-rate", "8000", "--samples", "2048", "--factors", "4,4",
        "--epochs", "2", "--batch-size", "6", "--threads", "1", "--device", "cpu",
        "--cache", str(data.parent / "cache"), "-o", str(out), "--folds", folds,
    ]  # fmt: skip
    model = [] if "--model" in flags else ["--model", "eat-s-gmme-lite-k4c2"]
    return CliRunner().invoke(app, [*fixed, *model, *flags])


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cross") / "run"
    result = train(data, out)
    assert result.exit_code == 0, result.stderr
    assert "all clips pooled" in result.stdout and "mean of the folds" in result.stdout
    assert result.stderr.count("note: the figures of each epoch are of the test clips") == 1
    return out


def comparable(out: Path) -> dict[str, Any]:
    """A result without times; weights are in it by their hashes."""
    document = json.loads((out / RESULT).read_text())
    for fold in document["folds"]:
        del fold["wall_time_s"]
    return {key: document[key] for key in ("folds", "pooled", "folds_mean", "recipe", "labels")}


def test_each_clip_is_tested_in_its_fold(data: Path, uninterrupted: Path) -> None:
    document = json.loads((uninterrupted / RESULT).read_text())
    assert [fold["fold"] for fold in document["folds"]] == [1, 2, 4]
    clips = [clip for fold in document["folds"] for clip in fold["predictions"]["clips"]]
    assert len(set(clips)) == 9 and all((data / clip).is_file() for clip in clips)
    for fold in document["folds"]:
        predictions = fold["predictions"]
        assert [clip.split("/")[0] for clip in predictions["clips"]] == predictions["true"]
        pairs = zip(predictions["true"], predictions["predicted"], strict=True)
        assert fold["correct"] == sum(a == b for a, b in pairs)
        run = load_checkpoint(uninterrupted / fold["checkpoint"])
        assert run.sha256 == fold["checkpoint_sha256"] and run.training["finished"]
        assert run.training["data"]["fold"] == fold["fold"] and run.training["data"]["clips"] == 12
        assert fold["accuracy"] == run.training["history"][-1]["monitor_accuracy"]
        noted = read_metrics(uninterrupted / fold["checkpoint"] / METRICS)
        assert fold["wall_time_s"] == round(noted[-1]["elapsed_s"], 1)
    assert document["command"].split()[0] == "gmme-edge"


def test_a_fold_is_the_run_that_train_fold_makes(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Cut out of one decoded whole, or decoded by itself."""
    assert train(data, tmp_path, folds="2").exit_code == 0
    alone, part = (load_checkpoint(out / "fold-2") for out in (tmp_path, uninterrupted))
    assert alone.sha256 == part.sha256


class PulledPlugError(Exception):
    pass


def stop_at(monkeypatch: pytest.MonkeyPatch, fold: str, where: str) -> None:
    """Fail in `fold`, without a chance to save: in its first epoch, or before it is scored."""
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    if where == "inside":
        log = Journal.log

        def pull(self: Journal, step: int, kind: Any, values: Any) -> None:  # noqa: ANN401
            if self.path.parent.name == fold and step == 2:
                raise PulledPlugError
            log(self, step, kind, values)

        monkeypatch.setattr(Journal, "log", pull)
        return
    score = "gmme_edge.training.cross_validation.score_store"
    from gmme_edge.evaluation import score_store

    seen = []

    def pull_plug(*arguments: Any) -> Any:  # noqa: ANN401
        seen.append(arguments)
        if len(seen) == int(fold[-1]):
            raise PulledPlugError
        return score_store(*arguments)

    monkeypatch.setattr(score, pull_plug)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["inside", "boundary"])
def test_killed_in_the_second_fold_it_goes_on_there(
    data: Path, uninterrupted: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stop_at(patched, "fold-2", where)
        stopped = train(data, tmp_path)
    assert isinstance(stopped.exception, PulledPlugError)
    assert not (tmp_path / RESULT).exists() and not (tmp_path / "fold-4").exists()
    steps: list[tuple[str, int]] = []
    descend = loop.Trainer._step

    def step(self: loop.Trainer) -> Any:  # noqa: ANN401
        steps.append((self.out.name, self.state.step))
        return descend(self)

    monkeypatch.setattr(loop.Trainer, "_step", step)
    again = train(data, tmp_path)
    assert again.exit_code == 0, again.stderr
    left = [("fold-2", s) for s in range(1 if where == "inside" else STEPS, STEPS)]
    assert steps == [*left, *(("fold-4", s) for s in range(STEPS))]
    assert comparable(tmp_path) == comparable(uninterrupted)


def test_more_folds_later_keep_those_that_are_done(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    assert train(data, tmp_path, folds="2,4").exit_code == 0
    weights = (tmp_path / "fold-2" / "model.safetensors").stat().st_size
    result = train(data, tmp_path, "--json")
    assert result.exit_code == 0 and weights
    assert comparable(tmp_path) == comparable(uninterrupted)
    printed = json.loads(result.stdout)
    assert printed["result"] == str(tmp_path / RESULT)
    assert printed["pooled"]["n"] == 9 and "predictions" not in printed["folds"][0]


def test_against_another_run_gives_the_paired_test(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    against = ("--against", str(uninterrupted / RESULT), "--set", "seed=1")
    result = train(data, tmp_path, *against)
    assert result.exit_code == 0, result.stderr
    assert "McNemar's exact test" in result.stdout
    paired = json.loads((tmp_path / RESULT).read_text())["paired"]
    mine, other = (json.loads((p / RESULT).read_text()) for p in (tmp_path, uninterrupted))
    difference = mine["pooled"]["accuracy"] - other["pooled"]["accuracy"]
    assert paired["pooled"]["difference"] == pytest.approx(difference)
    assert paired["pooled"]["n"] == 9 and [f["fold"] for f in paired["folds"]] == [1, 2, 4]
    assert paired["first"]["result"] == str(uninterrupted / RESULT)
    alone = train(data, tmp_path / "other", *against, folds="3")
    assert alone.exit_code == 3 and "cannot be paired" in alone.stderr


def test_transfer_and_teacher_fold_by_fold(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """``{fold}`` names the network that did not hear the fold's test clips."""
    name = f"{uninterrupted}/fold-{{fold}}"
    result = train(data, tmp_path, "--teacher", name, "--init", name, folds="1,2")
    assert result.exit_code == 0, result.stderr
    for fold in ("fold-1", "fold-2"):
        training = load_checkpoint(tmp_path / fold).training
        source = load_checkpoint(uninterrupted / fold).sha256
        assert training["teacher"]["sha256"] == training["init"]["sha256"] == source


def test_a_held_out_share_is_watched_and_the_test_clips_are_scored(
    data: Path, tmp_path: Path
) -> None:
    result = train(data, tmp_path, "--validation-share", "0.3", folds="1")
    assert result.exit_code == 0, result.stderr
    noted = load_checkpoint(tmp_path / "fold-1").training["data"]
    assert (noted["monitor"], noted["validation_share"]) == ("validation", 0.3)
    assert noted["clips"] < 12 and len(noted["fingerprints"].split(",")) == noted["clips"]
    assert "choose nothing by them" not in result.stderr
    (fold,) = json.loads((tmp_path / RESULT).read_text())["folds"]
    assert fold["n"] == 3


def test_nothing_is_watched_where_nothing_should_be(data: Path, tmp_path: Path) -> None:
    """No test clip is scored before the last epoch of its fold."""
    result = train(data, tmp_path, "--validation-share", "0", folds="1")
    assert result.exit_code == 0, result.stderr
    training = load_checkpoint(tmp_path / "fold-1").training
    assert (training["data"]["monitor"], training["data"]["clips"]) == ("none", 12)
    assert all("monitor_accuracy" not in epoch for epoch in training["history"])
    (fold,) = json.loads((tmp_path / RESULT).read_text())["folds"]
    assert fold["n"] == 3


def test_folds_that_are_trained_one_by_one_share_what_is_decoded(
    data: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for fold in ("1", "2"):
        assert train(data, tmp_path / fold, "--cache", str(cache), folds=fold).exit_code == 0
    assert len(list_entries(cache)) == 1
