"""Limits that make a call fail: of accuracy and of latency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gmme_edge.errors import AccuracyGateError, LatencyGateError

if TYPE_CHECKING:
    from gmme_edge.profiling.latency import LatencyRow
    from gmme_edge.scoring import Score

# Both compare by "not": so that a limit of nan fails instead of passing everything.


def check_accuracy(scores: Mapping[str, Score], least: float | None, fix: str = "") -> None:
    """Raise `AccuracyGateError` where a score of `scores`, by what was scored, is below `least`."""
    if least is None:
        return
    low = {name: score for name, score in scores.items() if not score.accuracy >= least}
    if low:
        raise AccuracyGateError(
            "; ".join(
                f"Accuracy {score.accuracy:.4f} of {name} (95 % {score.interval[0]:.4f} to "
                f"{score.interval[1]:.4f}, {score.n} clips)"
                for name, score in low.items()
            )
            + ".",
            f"at least {least:g} (--min-accuracy).",
            fix,
        )


def check_latency(rows: Iterable[LatencyRow], most_ms: float | None, fix: str = "") -> None:
    """Raise `LatencyGateError` where the 90th percentile of one of `rows` is above `most_ms`."""
    if most_ms is not None and (slow := [row for row in rows if not row.p90_ms <= most_ms]):
        raise LatencyGateError(
            "Too slow: "
            + "; ".join(
                f"{row.model} {row.precision} on {row.backend}, batch {row.batch}: "
                f"p90 {row.p90_ms:.2f} ms"
                for row in slow
            )
            + ".",
            f"at most {most_ms:g} ms (--max-latency-p90-ms).",
            fix,
        )
