"""What results are compared with, and when the difference is a failure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.report.rules import Rule, parse_rules
from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class CompareSettings(Settings):
    """How results are related."""

    panel = "Comparison"

    baseline: str | None = setting(
        None,
        "The model or bundle that the others are related to, as profile prints it; default: "
        "the AA network, else the first row.",
    )
    paper: bool = setting(
        False,
        "Instead show what was reproduced of the paper's tables, with or without results.",
        "--paper",
    )

    def check(self) -> None:
        if self.paper and self.baseline:
            raise UsageError("--baseline with --paper.", "one of them.")


@dataclass(frozen=True, kw_only=True)
class RegressionGate(Settings):
    """When a comparison fails."""

    fail_if: str | None = setting(
        None,
        "Fail (exit 10) on a regression, such as 'latency>+5%,size>+1%,accuracy<-0.5'; of two "
        "results of one kind the second is judged against the first, else all against the base.",
        panel="Gate",
    )
    junit: Path | None = setting(
        None, "Also write the checks as a JUnit file.", needs="fail_if", panel="Gate"
    )
    confirm: bool = setting(
        False,
        "Before failing on a latency, measure the second result (or all, where one run is judged) "
        "again by the call that it records; what is not found twice is undecided.",
        "--confirm",
        needs="fail_if",
        panel="Gate",
    )

    def check(self) -> None:
        _ = self.rules

    @property
    def rules(self) -> tuple[Rule, ...]:
        return () if self.fail_if is None else parse_rules(self.fail_if)
