"""The regression gate: sure losses fail, noise does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.errors import UsageError
from gmme_edge.report.compare import compare_results
from gmme_edge.report.documents import LatencyResult, LoadedResult, load_result
from gmme_edge.report.gate import check_rules
from gmme_edge.report.rules import parse_rules
from gmme_edge.workflows.confirming import confirm
from tests.bundles import make_bundle
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


def test_one_reason_of_two_runs_is_told_once(tmp_path: Path) -> None:
    old, new = (
        write_latency(tmp_path / f"{name}.json", row(samples_ms=samples(ms, seed, 0.3)))
        for name, ms, seed in (("old", 10, 1), ("new", 10.8, 2))
    )
    for path in (old, new):
        document = json.loads(path.read_text())
        document["noise"] = {"reasons": ["a busy core"]}
        path.write_text(json.dumps(document))
    done = compare(old, new, "--fail-if", "latency>+5%")
    assert done.exit_code == 0 and done.stderr.count("a busy core") == 1, done.stderr


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


@pytest.mark.parametrize(("second", "state"), [(11.0, "regressed"), (10.1, "undecided")])
def test_a_regression_is_one_that_a_second_run_finds(
    tmp_path: Path, second: float, state: str
) -> None:
    """Of an old and a new run only the new one is measured again."""
    paths = [
        write_latency(tmp_path / f"{name}.json", row(samples_ms=samples(median_ms, seed)))
        for name, median_ms, seed in (("old", 10, 1), ("new", 11, 2), ("again", second, 3))
    ]
    measured: list[str] = []

    def measure(result: LatencyResult) -> LoadedResult:
        measured.append(result.source)
        return load_result(paths[2])

    comparison, rules = (
        compare_results([load_result(p) for p in paths[:2]]),
        parse_rules("latency>+5%"),
    )
    (check,) = confirm(comparison, rules, check_rules(comparison, rules), measure)
    assert measured == [str(paths[1])]
    assert check.state == state and "in a second run: latency +" in check.detail


def test_what_is_not_slower_is_not_measured_again(tmp_path: Path) -> None:
    path = write_latency(
        tmp_path / "r.json",
        row(samples_ms=samples(10, 1)),
        row(GMME, samples(10, 2), size_bytes=30_000_000),
    )
    comparison, rules = compare_results([load_result(path)]), parse_rules("latency>+5%,size>+1%")

    def measure(result: LatencyResult) -> LoadedResult:
        raise AssertionError(result.source)

    checks = confirm(comparison, rules, check_rules(comparison, rules), measure)
    assert [check.state for check in checks] == ["passed", "regressed"]


def test_confirming_repeats_the_recorded_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result claims to be slow; the network that it records is not."""
    monkeypatch.chdir(tmp_path)
    for name in ("eat-s-aa", GMME):
        make_bundle(tmp_path / name, name, ("fp32",))
    words = ["profile", "eat-s-aa", GMME, "--warmup", "0", "--repetitions", "10", "-o", "r.json"]
    assert CliRunner().invoke(app, words).exit_code == 0
    document = json.loads(Path("r.json").read_text())
    slow = [100 * ms for ms in document["rows"][0]["samples_ms"]]
    document["rows"][1]["samples_ms"], document["noise"] = slow, {}
    Path("r.json").write_text(json.dumps(document))
    gate = ("r.json", "--fail-if", "latency>+4000%", "--json")
    assert compare(*gate).exit_code == 10
    done = compare(*gate, "--confirm")
    assert done.exit_code == 0, done.output
    assert "not in a second run" in done.stderr
    assert json.loads(done.stdout)["kind"] == "comparison"
    shutil.rmtree(GMME)
    gone = compare(*gate, "--confirm")
    assert gone.exit_code == 3 and "gone" in gone.stderr
