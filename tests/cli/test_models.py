"""`gmme-edge models`: the presets and what they cost; for shipped ones see test_pretrained.py."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.pretrained import FOLDER, list_names
from gmme_edge.spec import PRESETS, TASKS


def test_json_has_every_preset_and_task() -> None:
    result = CliRunner().invoke(app, ["models", "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["presets"]
    assert [(row["name"], row["task"]) for row in rows] == [(n, t) for t in TASKS for n in PRESETS]
    wanted = {"name": "eat-s-gmme-k32c16", "task": "esc50", "d_params": 34_984,
              "t_params": 3_249_450, "tokens": 112}  # fmt: skip
    (row,) = [r for r in rows if all(r[key] == wanted[key] for key in ("name", "task"))]
    assert f"{row.pop('gflops'):.2f}" == "5.96" and row == wanted


def test_table_of_one_task_names_every_preset_whole_in_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["models", "--task", "speech-commands"])
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if "eat-s-aa" in line]
    cells = [cell.strip() for cell in line.strip("│┃ ").split("│")]
    assert cells == ["eat-s-aa", "493,056", "1,971,955", "0.72", "64"]
    titles = {line.strip() for line in result.stdout.splitlines()} & set(TASKS)
    assert titles == {"speech-commands"}
    assert all(name in result.stdout for name in PRESETS)


@pytest.mark.parametrize("name", list_names())
def test_the_commands_of_a_card_stay_whole_in_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is broken where it is shown would be two commands where it is pasted."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["models", name]).stdout.splitlines()
    blocks = (FOLDER / name / "README.md").read_text(encoding="utf-8").split("```")[1::2]
    commands = [line for block in blocks for line in block.splitlines()[1:]]
    assert len(commands) >= 8
    for line in commands:
        assert any(row.strip() == line.strip() for row in shown), line


def test_the_network_of_a_shipped_model_is_named_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["models", "--task", "speech-commands"]).stdout
    column = "".join(row.split("│")[2].strip() for row in shown.splitlines() if row.count("│") == 6)
    assert "eat-s-edge-gmme-lite-k32c8" in column


def test_unknown_task() -> None:
    result = CliRunner().invoke(app, ["models", "--task", "esc51"])
    assert result.exit_code == 2
    assert "Unknown task 'esc51'" in result.stderr and "speech-commands" in result.stderr
    assert not result.stdout
