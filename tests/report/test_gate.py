"""The regression gate: sure losses fail, noise does not."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.errors import UsageError
from gmme_edge.report.rules import parse_rules
from tests.report.factory import row, write_accuracy, write_latency
from tests.report.test_paired import predictions

GMME = "eat-s-gmme-k32c8"


def samples(median_ms: float, seed: int, spread: float = 0.01) -> tuple[float, ...]:
    noise = np.random.default_rng(seed).standard_normal(100)
    return tuple(float(x) for x in median_ms * (1 + spread * noise))


def compare(*words: Path | str) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, words)])


@pytest.mark.parametrize(("factor", "code"), [(1.10, 10), (1.02, 0)])
def test_a_slower_second_run_fails(tmp_path: Path, factor: float, code: int) -> None:
    old = write_latency(tmp_path / "old.json", row(samples_ms=samples(10, 1)))
    new = write_latency(tmp_path / "new.json", row(samples_ms=samples(10 * factor, 2)))
    junit = tmp_path / "out" / "junit.xml"
    done = compare(old, new, "--fail-if", "latency>+5%", "--junit", junit)
    assert done.exit_code == code, done.output
    suite = ElementTree.parse(junit).getroot()
    assert suite.attrib["failures"] == str(int(code > 0)) and suite.attrib["tests"] == "1"


def test_rows_of_one_run_are_judged_by_their_interleaved_ratio(tmp_path: Path) -> None:
    """Both slow down by half in the middle: paired repetitions know that this is no difference."""
    drift = np.repeat([1.0, 1.5], 50)
    first, second = (tuple(np.asarray(samples(10 * f, s)) * drift) for f, s in ((1, 1), (1.08, 2)))
    path = write_latency(tmp_path / "r.json", row(samples_ms=first), row(GMME, second))
    assert compare(path, "--fail-if", "latency>+5%").exit_code == 10
    assert compare(path, "--fail-if", "latency>+12%").exit_code == 0


def test_noise_is_no_failure(tmp_path: Path) -> None:
    old = write_latency(tmp_path / "old.json", row(samples_ms=samples(10, 1, 0.3)))
    new = write_latency(tmp_path / "new.json", row(samples_ms=samples(10.8, 2, 0.3)))
    done = compare(old, new, "--fail-if", "latency>+5%")
    assert done.exit_code == 0 and "undecided" in done.stderr, done.output


@pytest.mark.parametrize(("right", "code"), [("+" * 40 + "-" * 60, 10), ("+" * 99 + "-", 0)])
def test_lost_accuracy_fails_by_the_paired_interval(tmp_path: Path, right: str, code: int) -> None:
    clips = tuple(f"{i}.wav" for i in range(100))
    paths = [
        write_accuracy(tmp_path / f"{name}.json", value=answers.count("+") / 100, n=100,
                       predictions=predictions(answers, clips), weights_sha256=name * 20)
        for name, answers in (("old", "+" * 100), ("new", right))
    ]  # fmt: skip
    assert compare(*paths, "--fail-if", "accuracy<-0.5").exit_code == code


def test_another_device_is_not_judged(tmp_path: Path) -> None:
    old = write_latency(tmp_path / "old.json", row())
    new = write_latency(tmp_path / "new.json", row(threads=2))
    done = compare(old, new, "--fail-if", "latency>+5%")
    assert done.exit_code == 2 and "Nothing here can be judged by latency>+5%" in done.stderr


@pytest.mark.parametrize(
    "text",
    ["", ",", "latency", "latency<5%", "latency>5", "accuracy>1", "accuracy<-1%", "energy>1%"],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"latency>\+5%"):
        parse_rules(text)


def test_a_junit_file_needs_rules(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row())
    done = compare(path, "--junit", tmp_path / "j.xml")
    assert done.exit_code == 2 and "--fail-if" in done.stderr
