"""The workflow file for users: valid YAML, whose calls are what the program understands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer
import yaml

from gmme_edge.cli.app import app
from gmme_edge.report.rules import parse_rules

FILE = Path(__file__).parents[2] / "examples" / "ci" / "regression.yml"


def calls(workflow: dict[str, Any]) -> list[list[str]]:
    """Every line that calls the program, with its continuations."""
    (job,) = workflow["jobs"].values()
    text = "\n".join(step.get("run", "") for step in job["steps"])
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("gmme-edge ")]


def test_the_program_understands_every_call() -> None:
    workflow = yaml.safe_load(FILE.read_text())
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    seen = []
    for name, *words in calls(workflow):
        assert not commands[name].make_context(name, words).args
        seen.append(name)
    assert set(seen) == {"export", "profile", "evaluate", "compare"}


def test_the_rules_are_split_as_they_are_written() -> None:
    rules = yaml.safe_load(FILE.read_text())["env"]["RULES"]
    assert [rule.measure for rule in parse_rules(rules)] == ["latency", "size", "accuracy"]
    before, _, limit = rules.partition(",accuracy<")
    assert [rule.measure for rule in parse_rules(before)] == ["latency", "size"]
    assert parse_rules(f"accuracy<{limit}")[0].limit < 0


def test_a_job_may_do_no_more_than_read() -> None:
    (job,) = yaml.safe_load(FILE.read_text())["jobs"].values()
    assert job["permissions"] == {"contents": "read"} and job["timeout-minutes"]
