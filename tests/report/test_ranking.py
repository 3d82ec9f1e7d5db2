"""Ranks: what an interval can tell, and what it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.report.compare import compare_results
from gmme_edge.report.documents import load_result
from gmme_edge.report.ranking import Rank, rank_ratio
from tests.report.factory import row, write_latency

GMME = "eat-s-gmme-k32c8"


@pytest.mark.parametrize(
    ("interval", "rank"),
    [
        ((1.03, 1.06), "slower"), ((0.90, 0.95), "faster"), ((0.99, 1.01), "equal"),
        ((1.001, 1.008), "equal"),  # surely different, and by less than two copies of one network
        ((0.90, 1.02), "undecided"), ((0.98, 1.20), "undecided"), (None, None),
    ],
)  # fmt: skip
def test_an_interval_ranks(interval: tuple[float, float] | None, rank: Rank | None) -> None:
    assert rank_ratio(interval) == rank


def test_noise_ranks_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 100))
    first, second = (tuple(m * (1 + 0.01 * n)) for m, n in zip((10, 12), noise, strict=True))
    path = write_latency(tmp_path / "r.json", row(samples_ms=first), row(GMME, second))
    base, other = compare_results([load_result(path)]).entries
    assert (base.ratio.latency_rank, other.ratio.latency_rank) == (None, "slower")
    document = json.loads(path.read_text())
    document["noise"] = {"reasons": ["other work kept 1.0 cores busy"]}
    path.write_text(json.dumps(document))
    comparison = compare_results([load_result(path)])
    assert comparison.entries[1].ratio.latency_rank == "noisy"
    assert any("too noisy to rank" in note for note in comparison.notes)
