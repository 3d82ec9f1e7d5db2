"""The verdict: which precision of a bundle a machine should run, by measured accuracy and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.profiling.statistics import median_ratio
from gmme_edge.report.flips import count_flips
from gmme_edge.scoring import Predictions, Score, paired_test

REFERENCE = "fp32"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Tried:
    """One precision as it was measured.

    Attributes:
        score: on the clips that all precisions were scored on, with their names.
        latency: its samples were taken in turn with those of the others.
        reasons: why it is not recommended; empty for the one that is.
    """

    score: Score
    latency: LatencyRow
    reasons: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        return self.latency.precision

    @property
    def predictions(self) -> Predictions:
        assert self.score.predictions is not None
        return self.score.predictions


@dataclass(frozen=True)
class Verdict:
    """All that was tried, FP32 first; exactly one has no reason against it."""

    tried: tuple[Tried, ...]
    max_drop_points: float

    @property
    def chosen(self) -> Tried:
        return next(each for each in self.tried if not each.reasons)

    def to_dict(self, where: Mapping[str, Any], device: Mapping[str, Any]) -> dict[str, Any]:
        """What the manifest holds; `where` tells on which clips the accuracies were measured."""
        latency = self.chosen.latency
        return {
            "precision": self.chosen.precision,
            "backend": latency.backend,
            "threads": latency.threads,
            "max_accuracy_drop_points": self.max_drop_points,
            "clips": {**where, "n": self.chosen.score.n},
            "device": dict(device),
            "tried": [self._describe(each) for each in self.tried],
        }

    def _describe(self, tried: Tried) -> dict[str, Any]:
        reference, row = self.tried[0], tried.latency
        test = paired_test(reference.predictions, tried.predictions)
        ratio, interval = median_ratio(row.samples_ms, reference.latency.samples_ms)
        flips = count_flips(reference.predictions, tried.predictions, (), REFERENCE)
        return {
            "precision": tried.precision,
            "accuracy": tried.score.accuracy,
            "interval": list(tried.score.interval),
            "difference_points": 100 * test.difference,
            "difference_interval_points": [100 * end for end in test.interval],
            "flips": flips.all.to_dict(),
            "median_ms": row.median_ms,
            "median_interval_ms": list(row.median_interval_ms),
            "p90_ms": row.p90_ms,
            "ratio_to_fp32": ratio,
            "ratio_interval": list(interval),
            "repetitions": len(row.samples_ms),
            "size_bytes": row.size_bytes,
            "recommended": not tried.reasons,
            "reasons": list(tried.reasons),
        }


def reach_verdict(measured: Sequence[Tried], max_drop_points: float) -> Verdict:
    """Choose the fastest precision that loses at most `max_drop_points` of FP32's accuracy.

    A precision takes the place of the one chosen so far only where it is measurably faster: where
    the 95 % interval of the ratio of medians, taken in the same repetitions, lies below 1. So in
    doubt the earlier one stays, which is the more exact one. The loss is that of these clips.

    Args:
        measured: FP32 first, the others from the most exact to the least.

    Raises:
        UsageError: FP32 is not the first.
    """
    if not measured or measured[0].precision != REFERENCE:
        raise UsageError("There is no verdict without FP32.", "fp32 among the precisions.")
    verdict = [measured[0]]
    best = 0
    for tried in measured[1:]:
        chosen = verdict[best]
        lost = -100 * paired_test(measured[0].predictions, tried.predictions).difference
        ratio, (low, high) = median_ratio(tried.latency.samples_ms, chosen.latency.samples_ms)
        measure = f"×{ratio:.2f} of its median (95 % {low:.2f} to {high:.2f})"
        reasons = []
        if not lost <= max_drop_points + _ROUNDING:
            reasons.append(f"loses {lost:.2f} points, more than {max_drop_points:g}")
        if high >= 1:
            slower = "slower than" if low > 1 else "not measurably faster than"
            reasons.append(f"{slower} {chosen.precision}: {measure}")
        if not reasons:
            faster = f"{tried.precision} is faster: {measure}"
            verdict[best] = replace(chosen, reasons=(faster,))
            best = len(verdict)
        verdict.append(replace(tried, reasons=tuple(reasons)))
    return Verdict(tuple(verdict), max_drop_points)
