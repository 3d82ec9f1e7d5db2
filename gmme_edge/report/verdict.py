"""The verdict: which precision of a bundle a machine should run, by measured accuracy and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.report.flips import count_flips
from gmme_edge.scoring import PairedTest, Predictions, Score, paired_test
from gmme_edge.statistics import Interval, exact_interval

REFERENCE = "fp32"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Tried:
    """One precision as it was measured.

    Attributes:
        score: on the clips that all precisions were scored on, with their names.
        latency: its samples were taken in turn with those of the others.
        reasons: why it is not recommended; empty for the one that is.
        notes: what to know of it all the same.
    """

    score: Score
    latency: LatencyRow
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
        ratio, interval = paired_ratio(row.samples_ms, reference.latency.samples_ms)
        flips = count_flips(reference.predictions, tried.predictions, (), REFERENCE)
        return {
            "precision": tried.precision,
            "accuracy": tried.score.accuracy,
            "interval": list(tried.score.interval),
            "difference_points": 100 * test.difference,
            "difference_interval_points": [100 * end for end in test.interval],
            "loss_interval_points": list(loss_interval_points(test)),
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
            "notes": list(tried.notes),
        }


def reach_verdict(measured: Sequence[Tried], max_drop_points: float) -> Verdict:
    """Choose the fastest precision that loses at most `max_drop_points` of FP32's accuracy.

    A precision takes the place of the one chosen so far only where it is measurably faster: where
    the 95 % interval of the median ratio, over the same repetitions, lies below 1. So in
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
        reasons, notes = _judge_loss(measured[0], tried, max_drop_points)
        ratio, (low, high) = paired_ratio(tried.latency.samples_ms, chosen.latency.samples_ms)
        measure = f"×{ratio:.2f} of its time (95 % {low:.2f} to {high:.2f})"
        if high >= 1:
            slower = "slower than" if low > 1 else "not measurably faster than"
            reasons.append(f"{slower} {chosen.precision}: {measure}")
        if not reasons:
            faster = f"{tried.precision} is faster: {measure}"
            verdict[best] = replace(chosen, reasons=(faster,))
            best = len(verdict)
        verdict.append(replace(tried, reasons=tuple(reasons), notes=notes))
    return Verdict(tuple(verdict), max_drop_points)


def loss_interval_points(test: PairedTest) -> Interval:
    """The exact 95 % interval of the loss in points, given how many clips changed sides.

    Of the clips of which only one of the two is right, the share that the reference has is a
    proportion; Clopper and Pearson's interval of it bounds the loss. Without such clips it is 0.
    """
    changed = test.only_first + test.only_second
    if not changed:
        return 0.0, 0.0
    low, high = exact_interval(test.only_first, changed)
    scale = 100 * changed / test.n
    return scale * (2 * low - 1), scale * (2 * high - 1)


def _judge_loss(
    reference: Tried, tried: Tried, max_drop_points: float
) -> tuple[list[str], tuple[str, ...]]:
    """Why it loses too much, as far as that can be told; and what to know of its labels."""
    test = paired_test(reference.predictions, tried.predictions)
    flips = count_flips(reference.predictions, tried.predictions, (), REFERENCE).all
    lost, (low, high) = -100 * test.difference, loss_interval_points(test)
    most = max_drop_points + _ROUNDING
    reasons = []
    if not lost <= most:
        reasons.append(f"loses {lost:.2f} points, more than {max_drop_points:g}")
    elif not high <= most:
        reasons.append(
            f"too few clips to tell whether it loses more than {max_drop_points:g} points: of "
            f"{test.n} labels {flips.total} changed, {test.only_first} for the worse and "
            f"{test.only_second} for the better (95 % of the loss {low:+.1f} to {high:+.1f})"
        )
    notes = []
    if flips.total:
        notes.append(f"{flips.total} of {flips.n} labels are not {REFERENCE}'s")
    if 100 / test.n > max_drop_points:
        notes.append(
            f"too few clips to tell a loss of {max_drop_points:g} points: one of {test.n} is "
            f"{100 / test.n:.2g}"
        )
    return reasons, tuple(notes)
