"""What keeps the code readable: short functions, few parameters, short modules, one direction."""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT)
    for package in ("gmme_edge", "exporters", "calibration")
    for path in (ROOT / package).rglob("*.py")
)


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))


def functions() -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {
        f"{path}:{node.name}": node
        for path in MODULES
        for node in nodes(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def n_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len(given) - (bool(given) and given[0].arg in ("self", "cls"))


def test_no_function_is_over_60_lines() -> None:
    lengths = {name: (f.end_lineno or 0) - f.lineno + 1 for name, f in functions().items()}
    assert [name for name, length in lengths.items() if length > 60] == []


def test_no_function_has_over_7_parameters() -> None:
    assert {name for name, f in functions().items() if n_parameters(f) > 7} == set()


def test_no_module_is_over_300_lines() -> None:
    texts = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in MODULES}
    assert {name for name, text in texts.items() if text.count("\n") > 300} == set()


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_nothing_but_the_command_line_imports_it() -> None:
    inside = ("cli", "__main__.py")
    outside = [path for path in MODULES if path.parts[1] not in inside]
    assert [p for p in outside if any(m.startswith("gmme_edge.cli") for m in imported(p))] == []


def skips(text: str) -> set[int]:
    """The lines that keep their format by hand."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0] for t in tokens if t.type == tokenize.COMMENT and "fmt: skip" in t.string}


def ends_of_tables(text: str) -> set[int]:
    """Where a literal of several lines ends that is given a name and holds no call so long."""
    return {
        node.end_lineno or 0
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and isinstance(node.value, (ast.Tuple, ast.List, ast.Set, ast.Dict))
        and not any(
            isinstance(inner, ast.Call) and (inner.end_lineno or 0) > inner.lineno
            for inner in ast.walk(node.value)
        )
    }


def test_only_tables_of_data_are_formatted_by_hand() -> None:
    """A call or a signature so long wants keywords, or a dataclass."""
    texts = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in MODULES}
    some = {name: text for name, text in texts.items() if "fmt: skip" in text}
    assert len(some) > 5
    assert {name for name, text in some.items() if skips(text) - ends_of_tables(text)} == set()


def test_the_rule_on_formatting_sees_a_call() -> None:
    table = 'A = (\n    "one",\n)  # fmt: skip\n'
    call = "f(\n    1, 2,\n)  # fmt: skip\n"
    nested = "A = (\n    f(\n        1,\n    ),\n)  # fmt: skip\n"
    assert [bool(skips(text) - ends_of_tables(text)) for text in (table, call, nested)] == [
        False,
        True,
        True,
    ]


def test_whatever_has_no_type_says_why() -> None:
    """`Any` in a signature is for what no stub describes."""
    for path in MODULES:
        if path.parts[:4] != ("exporters", "gmme_exporters", "board", "script"):
            for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
                assert "ANN401" not in line or " - " in line.partition("noqa:")[2], (path, line)
