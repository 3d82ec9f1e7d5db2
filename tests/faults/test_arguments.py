"""The campaign that misuses options has right arguments for every command."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from gmme_edge.cli.app import app
from tests.faults.families.misuse import WORK, _right


def test_every_command_is_misused() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands - set(WORK) == set(_right(Path("shared"), Path("folder")))


@pytest.mark.parametrize("name", _right(Path("shared"), Path("folder")))
def test_arguments_that_are_right_are_understood(name: str) -> None:
    """Else every misuse of another option would end at them."""
    words = [str(word) for word in _right(Path("shared"), Path("folder"))[name]]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert not command.make_context(name, words).args
