"""Label flips: clips that two models, or two precisions of one, answer differently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gmme_edge.scoring import Predictions, match_clips


@dataclass(frozen=True)
class Flips:
    """Of `n` clips, those whose label is another than the reference's, by which of them is right.

    `wrong_to_wrong` counts only those that went to another wrong label.
    """

    n: int = 0
    right_to_wrong: int = 0
    wrong_to_right: int = 0
    wrong_to_wrong: int = 0

    @property
    def total(self) -> int:
        return self.right_to_wrong + self.wrong_to_right + self.wrong_to_wrong

    def to_dict(self) -> dict[str, int]:
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True)
class FlipReport:
    """Flips against the reference `against`: of all clips, and by true class and by level."""

    against: str
    all: Flips
    per_class: dict[str, Flips]
    per_level: dict[str, Flips]

    def to_dict(self) -> dict[str, Any]:
        return {
            "against": self.against,
            "all": self.all.to_dict(),
            "per_class": {name: flips.to_dict() for name, flips in self.per_class.items()},
            "per_level": {name: flips.to_dict() for name, flips in self.per_level.items()},
        }


def count_flips(
    reference: Predictions, other: Predictions, labels: Sequence[str], against: str
) -> FlipReport:
    """How `other` differs from `reference`, whose clips are matched by name.

    Raises:
        InputError: other clips, or a clip with another true label.
    """
    answers = [(true, then, now) for true, now, then in match_clips(other, reference)]
    strata = sorted(set(other.levels))
    return FlipReport(
        against,
        _count(answers),
        {label: _count(a for a in answers if a[0] == label) for label in labels},
        {
            stratum: _count(
                a for a, level in zip(answers, other.levels, strict=True) if level == stratum
            )
            for stratum in strata
        },
    )


def _count(answers: Iterable[tuple[str, str, str]]) -> Flips:
    """Of (truth, label then, label now)."""
    found = list(answers)
    return Flips(
        len(found),
        sum(then == true != now for true, then, now in found),
        sum(now == true != then for true, then, now in found),
        sum(then != now and true not in (then, now) for true, then, now in found),
    )
