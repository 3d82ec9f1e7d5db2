"""Two models on the same clips: the paired test between two result files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gmme_edge.errors import InputError, fault
from gmme_edge.inputs import read_json
from gmme_edge.report.documents import SCHEMA
from gmme_edge.scoring import PairedTest, Predictions, paired_test
from gmme_edge.statistics import Interval, t_interval

_WANTED = "result of `gmme-edge evaluate -o` or of `gmme-edge train --folds`"


@dataclass(frozen=True)
class Tested:
    """A model's predictions, by fold; the key is None for a test list or an only fold."""

    source: str
    model: str
    parts: Mapping[int | None, Predictions]

    @property
    def pooled(self) -> Predictions:
        first, *rest = self.parts.values()
        for part in rest:
            first += part
        return first


@dataclass(frozen=True)
class PairedResult:
    """`second` against `first`.

    Attributes:
        test: on the pooled clips.
        folds: (fold, accuracy of the first, of the second), where both have the same folds.
        interval: Student's 95 % interval of the folds' mean difference; None below two folds.
    """

    first: Tested
    second: Tested
    test: PairedTest
    folds: tuple[tuple[int, float, float], ...]
    interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        test = asdict(self.test)
        folds = [
            {"fold": fold, "first": first, "second": second, "difference": second - first}
            for fold, first, second in self.folds
        ]
        mean = sum(fold["difference"] for fold in folds) / len(folds) if folds else None
        return {
            "first": {"result": self.first.source, "model": self.first.model},
            "second": {"result": self.second.source, "model": self.second.model},
            "pooled": {
                "n": test["n"],
                "difference": test["difference"],
                "bonett_price_95": list(test["interval"]),
                "only_first_right": test["only_first"],
                "only_second_right": test["only_second"],
                "mcnemar_exact_p": test["p_value"],
            },
            "folds": folds,
            "folds_mean": {
                "difference": mean,
                "t_95": None if self.interval is None else list(self.interval),
            },
        }


def load_tested(path: Path) -> Tested:
    """Read the predictions of an accuracy or a cross-validation result.

    Raises:
        InputError: absent, damaged, or written by a version that kept no predictions.
    """
    values = read_json(path, _WANTED, SCHEMA)
    if "predictions" not in values and "folds" not in values:
        raise InputError(
            f"{path} holds no predictions.", f"a {_WANTED}.", "write it again with this version."
        )
    try:
        return parse_tested(values, str(path))
    except (ArithmeticError, InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {fault(error)}", f"a {_WANTED}.") from error


def parse_tested(values: Mapping[str, Any], source: str) -> Tested:
    """As `load_tested`, from what the file holds."""
    if "folds" in values:
        parts: dict[int | None, Predictions] = {
            int(part["fold"]): Predictions.from_dict(part["predictions"])
            for part in values["folds"]
        }
    else:
        parts = {values.get("fold"): Predictions.from_dict(values["predictions"])}
    if not parts:
        raise ValueError("it has no folds")
    return Tested(source, str(values["model"]), parts)


def compare_pair(first: Tested, second: Tested) -> PairedResult:
    """Test whether `second` is more or less often right than `first`.

    Raises:
        InputError: they were not tested on the same clips.
    """
    try:
        test = paired_test(first.pooled, second.pooled)
    except InputError as error:
        raise InputError(
            f"{first.source} and {second.source} cannot be paired: {error.got}", error.expected
        ) from error
    folds = _fold_accuracies(first, second)
    differences = [b - a for _, a, b in folds]
    return PairedResult(first, second, test, folds, t_interval(differences))


def _fold_accuracies(first: Tested, second: Tested) -> tuple[tuple[int, float, float], ...]:
    """Empty where the folds are not the same, or the results are not of folds."""
    if first.parts.keys() != second.parts.keys():
        return ()
    pairs = [(fold, first.parts[fold], second.parts[fold]) for fold in first.parts]
    if any(set(a.clips) != set(b.clips) for _, a, b in pairs):
        return ()
    return tuple(
        (fold, sum(a.correct) / len(a), sum(b.correct) / len(b))
        for fold, a, b in pairs
        if fold is not None
    )
