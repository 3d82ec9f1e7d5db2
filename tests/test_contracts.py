"""What CONTRIBUTING asks of an addition; scripts beside the packages use them as a library."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gmme_edge.inputs import read_toml
from gmme_edge.runtime.backends import BACKENDS
from gmme_exporters.lowering.targets import TARGETS, rewrites_of
from tests.exporters.lowering.test_rewrites import LISTS

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/**/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_benchmarks_and_examples_import_nothing_of_the_command_line(script: Path) -> None:
    assert "gmme_edge.cli" not in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_has_tests_and_stands_in_the_glossary(backend: str) -> None:
    module = BACKENDS[backend].module.removeprefix("gmme_edge.runtime.").split(".")[0]
    assert list((ROOT / "tests/runtime").rglob(f"test_*{module[:-1]}*.py"))
    row = re.search(r"^\| backend \|.*$", _read("docs/reference/glossary.md"), re.MULTILINE)
    assert row and f"`{backend}`" in row[0]


def test_an_extra_stands_in_the_guide_and_its_packages_have_reasons() -> None:
    project = read_toml(ROOT / "pyproject.toml")["project"]
    guide, reasons = _read("docs/guides/install.md"), _read("docs/reference/dependencies.md")
    for extra, packages in project["optional-dependencies"].items():
        assert f"`{extra}`" in guide, extra
        for package in packages:
            name = re.split(r"[\[<>=;, ]", package)[0]
            assert name == project["name"] or re.search(rf"(?i)\b{name}\b", reasons), name


def test_a_rewrite_is_tested_alone_and_stands_in_both_tables() -> None:
    page = _read("docs/explanation/lowering.md")
    for rewrite in {each for target in TARGETS for each in rewrites_of(target)}:
        assert any(rewrite in rewrites for name, rewrites in LISTS.items() if name not in TARGETS)
        module = rewrite.__module__.rpartition(".")[2]
        assert f"lowering/{module}.py" in page, module
        assert len(re.findall(rf"(?i)^\|.*\b{module}\b", page, re.MULTILINE)) >= 2, module


def _read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")
