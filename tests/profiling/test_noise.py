"""What disturbs a measurement is found, and what does not is passed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.profiling.noise import Moment, judge_noise, observe
from tests.report.factory import row

BEFORE = Moment(wall_s=0, busy_s=100, steal_s=1, own_s=5, frequency_mhz=2000)
QUIET = Moment(wall_s=10, busy_s=110, steal_s=1, own_s=15, frequency_mhz=2000)


@pytest.mark.parametrize(
    ("after", "reason"),
    [(QUIET, ""), (replace(QUIET, busy_s=118), "0.8 cores"), (replace(QUIET, steal_s=2), "10%"),
     (replace(QUIET, frequency_mhz=1500), "75%"), (replace(QUIET, busy_s=105), "")],
)  # fmt: skip
def test_other_work_and_the_clock(after: Moment, reason: str) -> None:
    reasons = judge_noise([row(samples_ms=[10.0] * 60)], BEFORE, after)["reasons"]
    assert len(reasons) == bool(reason) and reason in "".join(reasons)


@pytest.mark.parametrize(("last", "noisy"), [(1.0, False), (1.05, False), (1.3, True), (0.7, True)])
def test_a_drift_of_all_rows(last: float, noisy: bool) -> None:
    course = np.linspace(1, last, 90) + np.random.default_rng(0).normal(0, 0.01, 90)
    rows = [row(samples_ms=tuple(map(float, scale * course))) for scale in (5, 20)]
    found = judge_noise(rows, BEFORE, QUIET)
    assert bool(found["reasons"]) == noisy
    assert found["rankable"]  # calls took turns: a drift slows all alike


@pytest.mark.parametrize(
    ("after", "rankable"),
    [(QUIET, True), (replace(QUIET, busy_s=118), False),
     (replace(QUIET, frequency_mhz=1500), False), (replace(QUIET, steal_s=1.5), True),
     (replace(QUIET, steal_s=3), False)],
)  # fmt: skip
def test_what_spoils_ratios_too(after: Moment, rankable: bool) -> None:
    assert judge_noise([row(samples_ms=[10.0] * 60)], BEFORE, after)["rankable"] == rankable


def test_counters_that_cannot_be_read_are_zero(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu x\n")
    for name in ("stat", "absent"):
        assert (observe(tmp_path / name).busy_s, observe(tmp_path / name).steal_s) == (0, 0)
