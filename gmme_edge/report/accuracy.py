"""Accuracies of one network and precision, pooled over the folds of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmme_edge.complexity import count
from gmme_edge.errors import InputError, UsageError
from gmme_edge.profiling.latency import hash_labels
from gmme_edge.report.documents import AccuracyResult, CrossValidationResult
from gmme_edge.scoring import Predictions
from gmme_edge.spec import ModelSpec
from gmme_edge.statistics import Interval, wilson_interval


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One accuracy as a file gives it, and what is known of the network that it is of.

    Attributes:
        weights_sha256: of the network, or of each fold's; empty in files of before it was noted.
        folds: the test folds; ``(None,)`` for a data set without folds.
    """

    source: str
    model: str
    precision: str
    backend: str
    d_params: int
    t_params: int
    gflops: float
    weights_sha256: frozenset[str]
    labels_sha256: str
    dataset: str
    split: str
    folds: tuple[int | None, ...]
    value: float
    interval: Interval
    n: int
    predictions: Predictions | None

    @property
    def group(self) -> tuple[object, ...]:
        """Claims that are pooled: of one network, or of the folds of one recipe."""
        network = self.weights_sha256 if self.folds == (None,) else None
        return self.model, self.precision, self.t_params, self.labels_sha256, network


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy (0 to 1) over the `n` clips of `folds`, with its 95 % interval."""

    value: float
    interval: Interval
    n: int
    dataset: str
    split: str
    folds: tuple[int | None, ...]
    backend: str
    source: str
    predictions: Predictions | None = None

    @property
    def protocol(self) -> tuple[object, ...]:
        """What two accuracies must share to be compared."""
        return self.dataset, self.split, self.folds


def claim_of(result: AccuracyResult | CrossValidationResult) -> Claim:
    """What a file claims; a cross-validation counts as one test of all its folds' clips.

    Raises:
        InputError: a cross-validation's network is described in a way that is not understood.
    """
    if isinstance(result, AccuracyResult):
        return Claim(
            source=result.source,
            model=result.model,
            precision=result.precision,
            backend=result.backend,
            d_params=result.d_params,
            t_params=result.t_params,
            gflops=result.gflops,
            weights_sha256=frozenset(filter(None, [result.weights_sha256])),
            labels_sha256=hash_labels(result.labels) if result.labels else "",
            dataset=result.dataset,
            split=result.split,
            folds=(result.fold,),
            value=result.accuracy,
            interval=result.interval,
            n=result.n,
            predictions=result.predictions,
        )
    try:
        complexity = count(ModelSpec.from_dict(result.spec))
    except (ArithmeticError, InputError, UsageError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{result.source} describes its network wrongly: {error}.") from error
    parts = [fold.predictions for fold in result.folds]
    return Claim(
        source=result.source,
        model=result.model,
        precision="fp32",
        backend="torch",
        d_params=complexity.d_params,
        t_params=complexity.t_params,
        gflops=complexity.gflops,
        weights_sha256=frozenset(filter(None, (f.checkpoint_sha256 for f in result.folds))),
        labels_sha256=hash_labels(result.labels),
        dataset=result.dataset,
        split=result.split,
        folds=tuple(sorted(fold.fold for fold in result.folds)),
        value=result.pooled.accuracy,
        interval=result.pooled.wilson_95,
        n=result.pooled.n,
        predictions=_join(parts),
    )


def pool_accuracies(claims: Iterable[Claim], backend: str) -> Accuracy | None:
    """The pooled accuracy of the claims on `backend`, else of those on the first other backend.

    A precision's numerics hardly depend on the engine, so that an accuracy that torch or the CPU
    gave stands for a GPU's too; `Accuracy.backend` tells which it was.
    """
    by_backend: dict[str, list[Claim]] = {}
    for claim in claims:
        by_backend.setdefault(claim.backend, []).append(claim)
    if not by_backend:
        return None
    return _pool(by_backend.get(backend) or next(iter(by_backend.values())))


def _pool(claims: Sequence[Claim]) -> Accuracy:
    """Several folds as one: clips add up, and Wilson's interval is that of the sum."""
    first, folds = claims[0], [fold for claim in claims for fold in claim.folds]
    sources = ", ".join(claim.source for claim in claims)
    if len({(c.dataset, c.split) for c in claims}) > 1 or len(set(folds)) < len(folds):
        raise UsageError(
            f"{sources} all give an accuracy of {first.model} ({first.precision}).",
            "one data set and split, and each fold once.",
            "compare them in separate calls.",
        )
    n = sum(claim.n for claim in claims)
    value, interval = first.value, first.interval
    if len(claims) > 1:
        correct = round(sum(claim.value * claim.n for claim in claims))
        value, interval = correct / n, wilson_interval(correct, n)
    ordered = tuple(sorted(folds, key=lambda fold: -1 if fold is None else fold))
    predictions = _join([claim.predictions for claim in claims])
    return Accuracy(
        value,
        interval,
        n,
        first.dataset,
        first.split,
        ordered,
        first.backend,
        sources,
        predictions,
    )


def _join(parts: Sequence[Predictions | None]) -> Predictions | None:
    """All parts as one; None where a part has none, or a clip stands in two."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    pooled = known[0]
    try:
        for part in known[1:]:
            pooled += part
    except InputError:
        return None
    return pooled
