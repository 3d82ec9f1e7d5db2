"""Thousands of faults, each of which ends in success or in an error of the project's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.engine import Case, FailedError, open_campaign, run_case

# Family → at least how many cases there are.
FAMILIES = {
    "audio": 1_200,
    "bundles": 850,
    "checkpoints": 1_200,
    "misuse": 600,
    "environment": 70,
    "kills": 60,
    "api": 5_000,
    "archives": 800,
    "documents": 1_400,
    "writers": 75,
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_fault_ends_in_a_foreign_exception_a_hang_or_much_memory(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_campaign(family) as campaign:
        outcomes = campaign.run()
        with capsys.disabled():
            print(f"\n{campaign.summary()}")
        assert not any(outcome.failed for outcome in outcomes), campaign.complaints()
    assert len(outcomes) >= FAMILIES[family]


def test_the_campaign_knows_a_failure_when_it_sees_one(tmp_path: Path) -> None:
    from gmme_edge.errors import AudioError

    def refuse(_: Path) -> None:
        raise AudioError("it is no sound")

    def stumble(_: Path) -> None:
        raise KeyError("x")

    def fail(_: Path) -> None:
        raise FailedError("exit code 1")

    assert run_case(Case("refused", refuse), tmp_path)[:2] == ("AudioError", False)
    assert run_case(Case("refused", refuse, "success"), tmp_path)[1]
    assert run_case(Case("accepted", lambda _: None, "refused"), tmp_path)[1]
    assert run_case(Case("stumbled", stumble), tmp_path)[:2] == ("foreign KeyError", True)
    assert run_case(Case("failed", fail), tmp_path)[1]
    assert run_case(Case("done", lambda _: None), tmp_path)[:2] == ("success", False)
