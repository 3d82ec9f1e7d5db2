"""The campaign that misuses options has right arguments for every command."""

from __future__ import annotations

from pathlib import Path

import typer.main

from gmme_edge.cli.app import app
from tests.faults.families.misuse import WORK, _right


def test_every_command_is_misused() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands - set(WORK) == set(_right(Path("shared"), Path("folder")))
