"""What stands outside the packages uses them as a library."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/**/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_benchmarks_and_examples_import_nothing_of_the_command_line(script: Path) -> None:
    assert "gmme_edge.cli" not in script.read_text(encoding="utf-8")
