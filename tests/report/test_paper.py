"""The paper's tables beside ours: counts that must come out, deviations that are explained."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.report.documents import load_result
from gmme_edge.report.paper import PUBLISHED, Reproduced, compare_with_paper
from gmme_edge.report.render.paper import paper_tables
from gmme_edge.report.schemas import all_schemas
from tests.report.factory import write_accuracy

K32C8, T_PARAMS = "eat-s-gmme-k32c8", 3_231_962


def find(rows: tuple[Reproduced, ...], task: str, model: str, figure: str) -> Reproduced:
    (row,) = (r for r in rows if (r.task, r.model, r.figure) == (task, model, figure))
    return row


def test_every_figure_is_there_and_every_deviation_explained() -> None:
    rows = compare_with_paper().rows
    assert len(rows) == 3 * len(PUBLISHED)
    for row in rows:
        assert row.state != "deviates" or row.notes, row
    assert {row.model for row in rows if row.state == "deviates"} == {"eat-s-aa"}


@pytest.mark.parametrize(
    ("task", "model", "d_params", "t_params"),
    [
        ("esc50", "eat-s-aa", 1_969_152, 5_183_618),
        ("urbansound8k", "eat-s-gmme-k32c16", 34_984, 3_241_218),
        ("speech-commands", "eat-s-gmme-k64c16", 67_752, 1_546_651),
    ],
)
def test_counts_are_those_of_the_specification(
    task: str, model: str, d_params: int, t_params: int
) -> None:
    rows = compare_with_paper().rows
    assert find(rows, task, model, "#D").ours == d_params
    assert find(rows, task, model, "#T").ours == t_params


@pytest.mark.parametrize(("value", "state"), [(0.91, "reproduced"), (0.80, "deviates")])
def test_an_accuracy_is_held_against_its_interval(tmp_path: Path, value: float, state: str) -> None:
    """The factory's interval is five points to either side; the paper has 90.80 %."""
    path = write_accuracy(tmp_path / "a.json", K32C8, value, fold=1, t_params=T_PARAMS)
    row = find(compare_with_paper([load_result(path)]).rows, "esc50", K32C8, "accuracy")
    assert (row.ours, row.state) == (value, state)
    assert row.notes[0].startswith("Folds 1 of 5 only")


def test_other_classes_have_no_place_in_the_tables(tmp_path: Path) -> None:
    path = write_accuracy(tmp_path / "a.json", K32C8, 0.9, dataset="esc10", t_params=3_226_802)
    found = compare_with_paper([load_result(path)])
    assert find(found.rows, "esc50", K32C8, "accuracy").state == "not measured"
    assert len(found.others) == 1 and "esc10" in found.others[0]


def test_the_tables_fit_80_columns(tmp_path: Path) -> None:
    path = write_accuracy(tmp_path / "a.json", K32C8, 0.9, fold=1, t_params=T_PARAMS)
    console = Console(file=io.StringIO(), width=80)
    console.print(paper_tables(compare_with_paper([load_result(path)])))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80 and "90.00 % [85.0, 95.0]" in text


def test_the_command_needs_no_results(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["compare", *words])
        return done.exit_code, done.output

    code, printed = run("--paper", "--json")
    assert code == 0
    jsonschema.validate(json.loads(printed), all_schemas()["paper"])
    page = tmp_path / "paper.md"
    assert run("--paper", "-o", str(page))[0] == 0
    bars = {line.count("|") for line in page.read_text().splitlines() if line.startswith("|")}
    assert bars == {6}
    for words in (["-o", "x.tex", "--paper"], ["--paper", "--baseline", "x"], []):
        assert run(*words)[0] == 2
    assert run("--paper", "--fail-if", "latency>+5%")[0] == 2
