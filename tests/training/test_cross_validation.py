"""Folds and their result; the intervals are worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gmme_edge.errors import UsageError
from gmme_edge.scoring import Predictions
from gmme_edge.statistics import wilson_interval
from gmme_edge.training.cross_validation import (
    FoldResult,
    cross_validation_document,
    score_fold,
)
from gmme_edge.training.folds import parse_folds
from gmme_edge.training.run.journal import Journal
from tests.training.tiny_run import LABELS, RECIPE, SPEC, make_data, make_trainer


def test_folds_are_all_or_some() -> None:
    assert parse_folds("all", 3) == (1, 2, 3)
    assert parse_folds("3, 1", 5) == (1, 3)
    assert parse_folds("2", 5) == (2,)
    for text in ("", "0", "6", "1,1", "1;2", "-1", "1,", "All", "1.0", "²"):
        with pytest.raises(UsageError, match="different folds from 1 to 5"):
            parse_folds(text, 5)


def result_of(fold: int, right: int, n: int) -> FoldResult:
    clips = tuple(f"{fold}-{i}.wav" for i in range(n))
    predicted = tuple("low" if i < right else "high" for i in range(n))
    return FoldResult(fold, Predictions(clips, ("low",) * n, predicted), 60.0 * fold, "ab")


IDENTITY = {
    "model": SPEC.to_dict(),
    "recipe": RECIPE.to_dict(),
    "data": {"dataset": "esc10", "fold": 1, "labels": list(LABELS)},
    "teacher": {"name": "aa/fold-{fold}", "sha256": "cd"},
}


def test_document_by_hand() -> None:
    """Accuracies 0.6, 0.8 and 1.0 of 5, 10 and 5 clips: mean 0.8, deviation 0.2; t(2) = 4.3027."""
    results = [result_of(1, 3, 5), result_of(2, 8, 10), result_of(3, 5, 5)]
    document = cross_validation_document(results, IDENTITY, "gmme-edge train")
    assert document["pooled"] == {
        "accuracy": 0.8, "correct": 16, "n": 20, "wilson_95": list(wilson_interval(16, 20)),
    }  # fmt: skip
    assert document["folds_mean"]["accuracy"] == pytest.approx(0.8)
    half = 4.302653 * 0.2 / 3**0.5
    assert document["folds_mean"]["t_95"] == pytest.approx([0.8 - half, 1.0])  # no share is over 1
    assert [f["accuracy"] for f in document["folds"]] == [0.6, 0.8, 1.0]
    assert document["folds"][1]["predictions"]["clips"][0] == "2-0.wav"
    assert document["wall_time_s"] == 360 and document["folds"][2]["checkpoint"] == "fold-3"
    assert (document["teacher"], document["dataset"]) == ("aa/fold-{fold}", "esc10")
    assert document["recipe"] == RECIPE.to_dict()
    json.dumps(document, allow_nan=False)


def test_one_fold_has_no_interval_over_folds() -> None:
    document = cross_validation_document([result_of(4, 3, 5)], IDENTITY, "")
    assert document["folds_mean"] == {"accuracy": 0.6, "t_95": None}


def test_a_fold_is_scored_on_the_averaged_weights(tmp_path: Path) -> None:
    data = replace(make_data(), description={"dataset": "tiny", "fold": 1, "monitor": "test"})
    trainer = make_trainer(tmp_path, replace(RECIPE, epochs=2), data)
    trainer.run()
    result = score_fold(trainer, 1)
    assert result.accuracy == trainer.state.history[-1]["monitor_accuracy"]
    assert result.predictions.clips == tuple(f"clip-{i}.wav" for i in range(6))
    assert result.predictions.true == LABELS * 2 and result.wall_time_s is None
    journal = Journal(tmp_path, tensorboard=False)
    journal.rewind(0)
    journal.log(1, "epoch", {})
    assert score_fold(trainer, 1).wall_time_s == pytest.approx(0, abs=1)


def test_clips_that_are_not_the_test_clips_are_no_score(tmp_path: Path) -> None:
    data = replace(make_data(), description={"dataset": "tiny", "monitor": "validation"})
    with pytest.raises(UsageError, match="no test clips"):
        score_fold(make_trainer(tmp_path, data=data), 1)
