"""A slower latency is a regression only where a second run finds it, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gmme_edge.report.compare import Comparison, compare_results
from gmme_edge.report.documents import LatencyResult, LoadedResult
from gmme_edge.report.gate import Check, check_rules, is_old_and_new
from gmme_edge.report.rules import Rule

Measure = Callable[[LatencyResult], LoadedResult]


def confirm(
    comparison: Comparison, rules: Sequence[Rule], checks: Sequence[Check], measure: Measure
) -> list[Check]:
    """The checks; what was slower once and not the second time is undecided.

    Sizes and accuracies do not vary from run to run and stay as they are.

    Args:
        measure: makes a result once more. Of an old and a new one only the new one is given.
    """
    if not any(_is_slower(check) for check in checks):
        return list(checks)
    kept = comparison.results[0] if is_old_and_new(comparison) else None
    again = [
        replace(measure(result), source=result.source)
        if isinstance(result, LatencyResult) and result is not kept
        else result
        for result in comparison.results
    ]
    second = {
        (check.row, check.rule): check
        for check in check_rules(compare_results(again, comparison.baseline), rules)
    }
    return [
        _confirmed(check, second.get((check.row, check.rule))) if _is_slower(check) else check
        for check in checks
    ]


def _is_slower(check: Check) -> bool:
    return check.state == "regressed" and check.rule.measure == "latency"


def _confirmed(check: Check, second: Check | None) -> Check:
    found = second is not None and second.state == "regressed"
    told = second.detail if second else "no such row"
    return replace(
        check,
        state="regressed" if found else "undecided",
        detail=f"{check.detail}; {'also' if found else 'not'} in a second run: {told}",
    )
