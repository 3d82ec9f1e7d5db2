"""What the pages tell a stranger to type is there."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
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


def calls(text: str) -> Iterator[list[str]]:
    """The words of each `gmme-edge …` in a page's blocks and sentences."""
    shell = [body for language, body in FENCE.findall(text) if language in ("sh", "")]
    lines = [line for body in shell for line in body.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(gmme-edge [^`]+)`", FENCE.sub("", text).replace("\n", " "))
    for line in lines:
        if re.search(r"\bgmme-edge ", line) is None:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no shell's line, such as one of a log
            continue
        for i, word in enumerate(words):
            if word.rpartition("/")[2] == "gmme-edge" and i + 1 < len(words):
                rest = words[i + 1 :]
                ends = [j for j, w in enumerate(rest) if w in ("|", "&&", ";", "--")]
                yield rest[: ends[0]] if ends else rest


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_of_a_page_and_its_options_exist(page: Path) -> None:
    for words in calls(page.read_text(encoding="utf-8")):
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


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
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
