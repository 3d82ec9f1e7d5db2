"""From logits to classes to an accuracy, and two accuracies against each other (numpy only)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import InputError
from gmme_edge.statistics import Z_95, Interval, mcnemar_exact, wilson_interval


@dataclass(frozen=True)
class Predictions:
    """What was predicted, clip by clip: names of clips, true and predicted labels, each (n,).

    `levels` holds the stratum of each clip's level, or nothing where that is not known.
    """

    clips: tuple[str, ...]
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (self.true, self.predicted, self.levels or self.clips)
        if any(len(column) != len(self) for column in columns):
            raise InputError("Predictions have columns of unequal length.")
        if len(set(self.clips)) < len(self.clips):
            raise InputError("Predictions name a clip twice.", "each clip once.")

    def __len__(self) -> int:
        return len(self.clips)

    def __add__(self, other: Predictions) -> Predictions:
        """Those of both, as for the test clips of two folds."""
        levels = self.levels + other.levels if self.levels and other.levels else ()
        return Predictions(
            clips=self.clips + other.clips,
            true=self.true + other.true,
            predicted=self.predicted + other.predicted,
            levels=levels,
        )

    @property
    def correct(self) -> tuple[bool, ...]:
        return tuple(a == b for a, b in zip(self.true, self.predicted, strict=True))

    def per_level(self) -> dict[str, dict[str, float | int | None]]:
        """Stratum → ``{"accuracy": …, "n": …}``, from faint to loud."""
        found: dict[str, list[bool]] = {level: [] for level in sorted(set(self.levels))}
        for level, right in zip(self.levels, self.correct, strict=False):
            found[level].append(right)
        return {k: {"accuracy": sum(v) / len(v), "n": len(v)} for k, v in found.items()}

    def to_dict(self) -> dict[str, list[str]]:
        return {
            "clips": list(self.clips),
            "true": list(self.true),
            "predicted": list(self.predicted),
            **({"levels": list(self.levels)} if self.levels else {}),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Sequence[str]]) -> Predictions:
        columns = (values["clips"], values["true"], values["predicted"], values.get("levels", ()))
        return Predictions(*(tuple(map(str, column)) for column in columns))


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy of `n` clips.

    Attributes:
        accuracy: 0 to 1.
        interval: Wilson's 95 % interval of the accuracy.
        per_class: label → ``{"accuracy": …, "n": …}``; accuracy is None where n is 0.
        confusion: rows are true classes, columns predicted ones.
        predictions: clip by clip, where the clips have names.
    """

    accuracy: float
    interval: Interval
    n: int
    per_class: dict[str, dict[str, float | int | None]]
    confusion: NDArray[np.int64]
    predictions: Predictions | None = None

    def to_dict(self) -> dict[str, Any]:
        named: dict[str, Any] = {}
        if self.predictions:
            named["predictions"] = self.predictions.to_dict()
            if self.predictions.levels:
                named["per_level"] = self.predictions.per_level()
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "n": self.n,
            "per_class": self.per_class,
            "labels": list(self.per_class),
            "confusion": self.confusion.tolist(),
            **named,
        }


@dataclass(frozen=True)
class PairedTest:
    """Two classifiers on the same `n` clips.

    Attributes:
        difference: accuracy of the second less that of the first.
        interval: its 95 % interval (Bonett and Price 2012, J. Educ. Behav. Stat. 37).
        only_first, only_second: clips that one of the two alone got right.
        p_value: McNemar's exact two-sided test of "both are equally often right".
    """

    n: int
    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float


def match_clips(first: Predictions, second: Predictions) -> list[tuple[str, str, str]]:
    """Clip by clip in the order of `first`: the true label, and what each of the two predicted.

    Raises:
        InputError: other clips, or a clip with another true label.
    """
    other = dict(zip(second.clips, zip(second.true, second.predicted, strict=True), strict=True))
    if set(first.clips) != set(other):
        alone = sorted(set(first.clips) ^ set(other))
        raise InputError(
            f"The predictions are of {len(first)} and {len(second)} clips, and {len(alone)} of "
            f"them, such as {alone[0]}, are in one of the two only.",
            "two models that were tested on the same clips.",
        )
    matched = []
    for clip, true, predicted in zip(first.clips, first.true, first.predicted, strict=True):
        if other[clip][0] != true:
            raise InputError(f"{clip} is {true!r} in one file and {other[clip][0]!r} in the other.")
        matched.append((true, predicted, other[clip][1]))
    return matched


def paired_test(first: Predictions, second: Predictions) -> PairedTest:
    """Compare two classifiers' predictions, matched by the clips' names.

    Raises:
        InputError: other clips, or a clip with another true label.
    """
    matched = match_clips(first, second)
    only_first = sum(a == true != b for true, a, b in matched)
    only_second = sum(a != true == b for true, a, b in matched)
    return _paired(len(first), only_first, only_second)


def _paired(n: int, only_first: int, only_second: int) -> PairedTest:
    b, c = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    half = Z_95 * math.sqrt((b + c - (b - c) ** 2) / (n + 2))
    interval = max(-1.0, c - b - half), min(1.0, c - b + half)
    return PairedTest(
        n=n,
        difference=(only_second - only_first) / n if n else 0.0,
        interval=interval,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar_exact(only_first, only_second),
    )


def score(
    predicted: NDArray[np.integer], true: NDArray[np.integer], labels: tuple[str, ...]
) -> Score:
    """Compare class indices of shape ``(n,)``."""
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (true, predicted), 1)
    correct, n = int(np.trace(confusion)), len(true)
    totals = confusion.sum(axis=1)
    per_class = {
        label: {
            "accuracy": float(confusion[i, i] / totals[i]) if totals[i] else None,
            "n": int(totals[i]),
        }
        for i, label in enumerate(labels)
    }
    return Score(correct / n if n else 0.0, wilson_interval(correct, n), n, per_class, confusion)
