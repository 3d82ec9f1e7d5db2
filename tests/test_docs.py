"""What the pages tell a stranger to type is there."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group

from gmme_edge.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
GUIDES = sorted(ROOT.glob("docs/guides/*.md"))
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
COMMANDS: dict[str, Any] = get_group(app).commands
ELSEWHERE = {"docs/operators.md"}  # of another project, which the code names


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def shell_lines(text: str) -> Iterator[str]:
    """What a page's blocks tell to type."""
    for language, body in FENCE.findall(text):
        if language in ("sh", ""):
            yield from body.replace("\\\n", " ").splitlines()


def spans(text: str) -> list[str]:
    """What its sentences do, perhaps with something left out."""
    return re.findall(r"`(gmme-edge [^`]+)`", FENCE.sub("", text).replace("\n", " "))


def calls(lines: Iterable[str]) -> Iterator[list[str]]:
    """The words of each `gmme-edge …`, without the program's name."""
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no shell's line, such as one of a log
            continue
        for is_end, group in itertools.groupby(words, key=("|", "&&", ";", "--").__contains__):
            program, *rest = group
            if not is_end and rest and program.rpartition("/")[2] == "gmme-edge":
                yield rest


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_of_a_page_and_its_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in calls([*shell_lines(text), *spans(text)]):
        command = COMMANDS.get(words[0])
        if command is None:  # `gmme-edge --help`, or another program's file of that name
            assert not re.fullmatch(r"[a-z][a-z-]*", words[0]), words
            continue
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert asked <= known | {"--help"}, (words[0], asked - known)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_pages_python_imports_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for body in (body for language, body in FENCE.findall(text) if language == "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gmme_"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, each.name) for each in node.names), node.module


@pytest.mark.parametrize("guide", [ROOT / "README.md", *GUIDES], ids=name_of)
def test_the_program_understands_every_call_of_a_guide(guide: Path) -> None:
    for name, *words in calls(shell_lines(guide.read_text(encoding="utf-8"))):
        assert not COMMANDS[name].make_context(name, words).args, (name, words)


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_a_guide_begins_with_its_end_and_says_what_can_go_wrong(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    assert text.split("\n\n")[1].startswith("At the end ")
    assert "\n## What can go wrong\n" in text
    assert "```sh\n" in text


def test_the_code_names_pages_that_exist() -> None:
    for path in [p for folder in ("gmme_edge", "exporters", "calibration", "benchmarks")
                 for p in (ROOT / folder).rglob("*.py")]:  # fmt: skip
        for named in set(re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))):
            assert named in ELSEWHERE or (ROOT / named).is_file(), (name_of(path), named)
