"""`gmme-edge.toml`: options for the commands, checked, below the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.cli.options.config import NAME, find_config
from tests.report.factory import row, write_latency


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder two levels below one that may have the file."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    write_latency(below / "r.json", row(), row("eat-s-gmme-k32c8", (9.0, 9.0, 9.0)))
    return tmp_path


def compare(*words: str) -> Result:
    return CliRunner().invoke(app, ["compare", "r.json", *words])


def test_the_nearest_file_upwards_gives_options(place: Path) -> None:
    (place / NAME).write_text("[compare]\nbaseline = 'none'\n")
    (place / "a" / NAME).write_text("[compare]\nbaseline = 'eat-s-gmme-k32c8'\n")
    assert find_config() == place / "a" / NAME
    done = compare("--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["baseline"] == "eat-s-gmme-k32c8"
    assert told["config"] == str(place / "a" / NAME)
    assert f"options of [compare] from {place / 'a' / NAME}" in done.stderr


def test_the_command_line_wins(place: Path) -> None:
    (place / NAME).write_text("[compare]\nbaseline = 'eat-s-gmme-k32c8'\n")
    assert json.loads(compare("--json", "--baseline", "eat-s-aa").stdout)["baseline"] == "eat-s-aa"


def test_a_file_without_options_for_the_command_is_not_named(place: Path) -> None:
    (place / NAME).write_text("[profile]\nthreads = '2'\n")
    done = compare("--json")
    assert "config" not in json.loads(done.stdout) and done.stderr == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[compare]\nbase = 'x'\n", "[compare] has no option 'base'"),
        ("[compare]\nresults = 'x'\n", "[compare] has no option 'results'"),
        ("[compares]\n", "'compares'"),
        ("compare = 3\n", "compare is no table"),
        ("[compare]\nbaseline = 3\n", "[compare] baseline is 3"),
        ("[profile]\nrepetitions = '3'\n", '[profile] repetitions is "3"'),
        ("[profile]\nrepetitions = true\n", "[profile] repetitions is true"),
        ("[profile]\nquiet = 1\n", "[profile] quiet is 1"),
        ("[train]\nset = 'mixing=false'\n", '[train] set is "mixing=false"'),
        ("[compare\n", "is no TOML"),
    ],
)
def test_what_no_command_takes_names_file_and_key(place: Path, text: str, named: str) -> None:
    (place / NAME).write_text(text)
    done = compare()
    assert done.exit_code == 2
    assert str(place / NAME) in done.stderr and named in done.stderr


def test_a_value_out_of_bounds_names_option_bounds_and_file(place: Path) -> None:
    (place / NAME).write_text("[profile]\nrepetitions = 0\n")
    done = CliRunner().invoke(app, ["profile", "digits"])
    assert done.exit_code == 2
    assert "--repetitions is 0" in done.stderr and f"[profile] of {place / NAME}" in done.stderr
    assert "at least 1 and at most 1e+06" in done.stderr
    typed = CliRunner().invoke(app, ["profile", "digits", "--repetitions", "-1"])
    assert typed.exit_code == 2 and "--repetitions is -1" in typed.stderr


def test_what_the_parser_refuses_names_file_and_key(place: Path) -> None:
    (place / NAME).write_text("[demo]\nepochs = 0\n")
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 2 and f"{place / NAME}: [demo] epochs" in done.stderr
    typed = CliRunner().invoke(app, ["demo", "--epochs", "-1"])
    assert typed.exit_code == 2 and NAME not in typed.stderr


def test_what_settings_refuse_names_the_file(place: Path) -> None:
    (place / NAME).write_text("[compare]\nfail_if = 'speed'\n")
    done = compare("--json")
    told = json.loads(done.stderr[done.stderr.index("{") :])["error"]
    assert "--fail-if" in told["got"] and f"[compare] of {place / NAME}" in told["got"]


def test_help_stands_above_a_broken_file(place: Path) -> None:
    (place / NAME).write_text("[[[")
    done = CliRunner().invoke(app, ["compare", "--help"])
    assert done.exit_code == 0 and "Usage:" in done.stdout


def test_help_tells_of_the_file() -> None:
    assert NAME in CliRunner().invoke(app, ["--help"], terminal_width=200).stdout


def test_the_pages_example_is_a_file_that_can_be_used(place: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "config.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    (place / NAME).write_text(example)
    assert compare("--json").exit_code == 0


def test_an_option_in_two_spellings_is_refused(place: Path) -> None:
    (place / NAME).write_text("[export]\ncalib_data = 'a'\ncalib-data = 'b'\n")
    done = compare("--json")
    assert done.exit_code == 2 and "'calib-data' twice" in done.stderr
