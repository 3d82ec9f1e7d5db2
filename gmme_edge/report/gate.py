"""The regression gate: is a network slower, larger or less often right than before?

Rows that were measured in one run are judged by the interval of their interleaved ratio to the
base. Two files of one kind are an old and a new run: the second is judged against the first, by
an interval that knows nothing of what changed between the runs, so that noise is never a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from gmme_edge.errors import InputError, RegressionGateError, UsageError
from gmme_edge.profiling.statistics import unpaired_median_ratio
from gmme_edge.report.compare import Comparison
from gmme_edge.report.documents import LatencyResult
from gmme_edge.report.entries import Entry
from gmme_edge.report.rules import Rule
from gmme_edge.scoring import paired_test
from gmme_edge.statistics import Interval

State = Literal["passed", "regressed", "undecided"]
Change = tuple[float, Interval | None]


@dataclass(frozen=True)
class Check:
    """One rule on one row.

    Attributes:
        state: ``undecided`` where the estimate is beyond the limit and its interval is not.
    """

    row: str
    rule: Rule
    state: State
    detail: str


def check_rules(comparison: Comparison, rules: Sequence[Rule]) -> list[Check]:
    """Every rule on every row that has what it judges.

    Raises:
        UsageError: a rule that no row can be judged by.
    """
    checks = []
    pairs = list(_pairs(comparison))
    for rule in rules:
        found = [
            _judge(entry, rule, change, noise)
            for entry, old, noise in pairs
            if (change := _change(entry, old, rule.measure)) is not None
        ]
        if not found:
            raise UsageError(
                f"Nothing here can be judged by {rule.text}.",
                "a base and another network in one result, or an old and a new result of one kind "
                "and device.",
            )
        checks += found
    return checks


def refuse_regressions(checks: Sequence[Check]) -> None:
    """Raise `RegressionGateError` where a rule is broken beyond doubt."""
    broken = [check for check in checks if check.state == "regressed"]
    if broken:
        raise RegressionGateError(
            "Regression: " + "; ".join(f"{check.row}: {check.detail}" for check in broken) + ".",
            f"none of {', '.join(dict.fromkeys(check.rule.text for check in broken))}.",
        )


def render_junit(checks: Sequence[Check]) -> str:
    """The checks as a JUnit file; what is undecided counts as skipped."""
    states = [check.state for check in checks]
    suite = ElementTree.Element(
        "testsuite",
        name="gmme-edge compare",
        tests=str(len(checks)),
        failures=str(states.count("regressed")),
        skipped=str(states.count("undecided")),
        errors="0",
    )
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(check.rule.text), name=_xml(check.row)
        )
        tag = {"regressed": "failure", "undecided": "skipped"}.get(check.state)
        if tag:
            ElementTree.SubElement(case, tag, message=_xml(check.detail))
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(check.detail)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def is_old_and_new(comparison: Comparison) -> bool:
    """Whether the second result is judged against the first."""
    results = comparison.results
    return len(results) == 2 and type(results[0]) is type(results[1])


def _pairs(comparison: Comparison) -> Iterator[tuple[Entry, Entry | None, str]]:
    """Each row to judge, with the old one of an old and a new run, and what makes that noisy."""
    results = comparison.results
    if is_old_and_new(comparison):
        old = {_key(e): e for e in comparison.entries if e.source == results[0].source}
        noise = dict.fromkeys(
            str(reason)
            for result in results
            if isinstance(result, LatencyResult)
            for reason in result.noise.get("reasons", ())
        )
        for entry in comparison.entries:
            if entry.source == results[1].source and _key(entry) in old:
                yield entry, old[_key(entry)], "; ".join(noise)
        return
    for entry in comparison.entries:
        if not entry.is_base:
            yield entry, None, ""


def _key(entry: Entry) -> tuple[object, ...]:
    row, device = entry.latency, entry.device
    how = (row.threads, row.batch, row.gpu_call, row.stream) if row else ()
    setting = (*how, row.clip_s, row.n_classes) if row else ()
    machine = repr((device.get("cpu"), device.get("jetson"), device.get("gpus"))) if row else ""
    return entry.model, entry.precision, entry.backend, setting, machine


def _change(entry: Entry, old: Entry | None, measure: str) -> Change | None:
    """The change and its interval, as shares or in points; None where it cannot be told."""
    ratio = entry.ratio
    if measure == "size":
        size = _size_ratio(entry, old) if old else ratio.size
        return None if size is None else (size - 1, None)
    if measure == "latency":
        value, interval = _latency(entry, old) if old else (ratio.latency, ratio.latency_interval)
        if value is None or interval is None:
            return None
        return value - 1, (interval[0] - 1, interval[1] - 1)
    if old:
        return _accuracy(entry, old)
    if ratio.accuracy_points is None:
        return None
    return ratio.accuracy_points, ratio.accuracy_points_interval


def _size_ratio(entry: Entry, old: Entry) -> float | None:
    if entry.latency is None or old.latency is None:
        return None
    return entry.latency.size_bytes / old.latency.size_bytes


def _latency(entry: Entry, old: Entry) -> tuple[float | None, Interval | None]:
    if entry.latency is None or old.latency is None:
        return None, None
    return unpaired_median_ratio(entry.latency.samples_ms, old.latency.samples_ms)


def _accuracy(entry: Entry, old: Entry) -> Change | None:
    mine, before = entry.accuracy, old.accuracy
    if mine is None or before is None or mine.protocol != before.protocol:
        return None
    points = 100 * (mine.value - before.value)
    if mine.predictions is None or before.predictions is None:
        return points, None
    try:
        low, high = paired_test(before.predictions, mine.predictions).interval
    except InputError:
        return None
    return points, (100 * low, 100 * high)


def _judge(entry: Entry, rule: Rule, change: Change, noise: str) -> Check:
    """A loss of accuracy is negative, of the others positive: so one comparison serves all."""
    value, interval = change
    sign = -1 if rule.measure == "accuracy" else 1
    surest = value if interval is None else min(sign * end for end in interval) * sign
    state: State = "passed"
    if sign * value > sign * rule.limit:
        sure = sign * surest > sign * rule.limit and not noise
        state = "regressed" if sure else "undecided"
    name = f"{entry.name} {entry.precision} on {entry.backend}"
    if entry.latency:
        name += f", {entry.latency.threads or 'auto'} threads, batch {entry.latency.batch}"
    detail = f"{rule.measure} {_describe(value, rule)}"
    if interval:
        detail += f" (95 % {_describe(interval[0], rule)} to {_describe(interval[1], rule)})"
    return Check(name, rule, state, f"{detail}; too noisy: {noise}" if noise else detail)


def _describe(value: float, rule: Rule) -> str:
    return f"{value:+.2f} points" if rule.measure == "accuracy" else f"{100 * value:+.1f} %"
