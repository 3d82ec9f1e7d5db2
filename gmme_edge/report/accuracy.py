"""Accuracy results of one model and precision, pooled over the folds of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmme_edge.errors import UsageError
from gmme_edge.profiling.statistics import Interval
from gmme_edge.report.documents import AccuracyResult
from gmme_edge.statistics import wilson_interval

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy (0 to 1) over the `n` clips of `folds`, with its 95 % interval.

    `folds` is ``(None,)`` for a data set without folds.
    """

    value: float
    interval: Interval
    n: int
    dataset: str
    split: str
    folds: tuple[int | None, ...]
    backend: str
    source: str

    @property
    def protocol(self) -> tuple[object, ...]:
        """What two accuracies must share to be compared."""
        return self.dataset, self.split, self.folds


def key_of(result: AccuracyResult) -> Key:
    """What joins accuracies to latencies; #T tells apart one model on two tasks."""
    return result.model, result.precision, result.t_params


def choose_accuracy(results: Iterable[AccuracyResult], backend: str) -> Accuracy | None:
    """The pooled accuracy of the results on `backend`, else of those on the first other backend.

    A precision's numerics hardly depend on the engine, so that an accuracy that torch or the CPU
    gave stands for a GPU's too; `Accuracy.backend` tells which it was.
    """
    by_backend: dict[str, list[AccuracyResult]] = {}
    for result in results:
        by_backend.setdefault(result.backend, []).append(result)
    if not by_backend:
        return None
    return _pool(by_backend.get(backend) or next(iter(by_backend.values())))


def _pool(results: Sequence[AccuracyResult]) -> Accuracy:
    """Several folds as one: clips add up, and Wilson's interval is that of the sum."""
    first, folds = results[0], [result.fold for result in results]
    sources = ", ".join(result.source for result in results)
    if len({(r.dataset, r.split) for r in results}) > 1 or len(set(folds)) < len(folds):
        raise UsageError(
            f"{sources} all give an accuracy of {first.model} ({first.precision}).",
            "one data set and split, and each fold once.",
            "compare them in separate calls.",
        )
    n = sum(result.n for result in results)
    value, interval = first.accuracy, first.interval
    if len(results) > 1:
        correct = round(sum(result.accuracy * result.n for result in results))
        value, interval = correct / n, wilson_interval(correct, n)
    ordered = tuple(sorted(folds, key=lambda fold: -1 if fold is None else fold))
    return Accuracy(value, interval, n, first.dataset, first.split, ordered, first.backend, sources)
