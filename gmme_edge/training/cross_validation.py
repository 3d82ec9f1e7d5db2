"""Cross-validation: one run per fold, scored on the clips that it did not train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import torch

from gmme_edge import __version__
from gmme_edge.data.store import WaveformStore
from gmme_edge.device.facts import describe_device
from gmme_edge.errors import UsageError
from gmme_edge.evaluation import score_store
from gmme_edge.files import sha256_of
from gmme_edge.models.checkpoint import WEIGHTS
from gmme_edge.models.eat import torch_predictor
from gmme_edge.scoring import Predictions
from gmme_edge.statistics import Interval, t_interval, wilson_interval
from gmme_edge.training.folds import RESULT as RESULT
from gmme_edge.training.folds import fold_folder
from gmme_edge.training.run.journal import METRICS, read_metrics
from gmme_edge.training.run.loop import Trainer

SCHEMA = 1


@dataclass(frozen=True)
class FoldResult:
    """The averaged weights' predictions on the test clips of `fold`.

    `wall_time_s` is the training's, without pauses; None for a run without a journal.
    """

    fold: int
    predictions: Predictions
    wall_time_s: float | None
    checkpoint_sha256: str

    @property
    def correct(self) -> int:
        return sum(self.predictions.correct)

    @property
    def accuracy(self) -> float:
        return self.correct / len(self.predictions)

    def to_dict(self) -> dict[str, Any]:
        return {
            "fold": self.fold,
            "accuracy": self.accuracy,
            "wilson_95": list(wilson_interval(self.correct, len(self.predictions))),
            "correct": self.correct,
            "n": len(self.predictions),
            "wall_time_s": self.wall_time_s,
            "checkpoint": fold_folder(self.fold),
            "checkpoint_sha256": self.checkpoint_sha256,
            "predictions": self.predictions.to_dict(),
        }


def score_fold(trainer: Trainer, fold: int, test: WaveformStore | None = None) -> FoldResult:
    """Score a finished run on `test`; by default on what it watched, if that is the test clips."""
    store = test or trainer.data.monitor
    watched = "test" if test else trainer.data.description.get("monitor")
    if store is None or watched != "test":
        raise UsageError(f"Fold {fold} has no test clips to score.", "a data set in folds.")
    predict = torch_predictor(trainer.state.ema.model)
    result = score_store(predict, store, trainer.spec.n_samples, trainer.data.labels)
    assert result.predictions is not None
    noted = read_metrics(trainer.out / METRICS)
    wall_time_s = round(noted[-1]["elapsed_s"], 1) if noted else None
    sha256 = sha256_of(trainer.out / WEIGHTS)
    return FoldResult(fold, result.predictions, wall_time_s, sha256)


def cross_validation_document(
    results: Sequence[FoldResult], identity: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """What `cross-validation.json` holds.

    ``pooled`` counts all test clips as one test, with Wilson's interval for this many clips;
    ``folds_mean`` is the mean of the folds' accuracies, with Student's interval over the folds.

    Args:
        identity: `Trainer.identity` of any of the runs.
    """
    pooled = results[0].predictions
    for result in results[1:]:
        pooled += result.predictions
    correct, n = sum(pooled.correct), len(pooled)
    accuracies = [result.accuracy for result in results]
    return {
        "schema": SCHEMA,
        "kind": "cross-validation",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "model": identity["model"]["name"],
        "dataset": identity["data"]["dataset"],
        "split": "test",
        "pooled": {
            "accuracy": correct / n,
            "correct": correct,
            "n": n,
            "wilson_95": list(wilson_interval(correct, n)),
        },
        "folds_mean": {
            "accuracy": sum(accuracies) / len(accuracies),
            "t_95": _within_shares(t_interval(accuracies)),
        },
        "wall_time_s": round(sum(result.wall_time_s or 0.0 for result in results), 1),
        "labels": identity["data"]["labels"],
        "spec": identity["model"],
        "recipe": identity["recipe"],
        **{part: identity[part]["name"] for part in ("init", "teacher") if part in identity},
        "versions": {"gmme-edge": __version__, "torch": str(torch.__version__)},
        "device": describe_device(),
        "folds": [result.to_dict() for result in results],
    }


def _within_shares(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [max(0.0, interval[0]), min(1.0, interval[1])]
