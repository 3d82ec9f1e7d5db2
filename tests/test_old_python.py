"""What a board runs from source keeps to the syntax and the library of its old Python."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gmme_edge

PACKAGE = Path(gmme_edge.__file__).parent
MODULES = sorted(
    p for room in ("runtime", "bundle", "device") for p in (PACKAGE / room).rglob("*.py")
)
_GENERICS = {"dict", "list", "tuple", "set", "frozenset", "type"}
_ABC = ("collections", "collections.abc", "contextlib", "weakref", "concurrent.futures")
_LATER = {"removeprefix", "removesuffix", "is_relative_to", "bit_count", "readlink", "with_stem"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_device_modules_parse_on_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    annotated = any(
        isinstance(node, (ast.AnnAssign, ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(tree)
    )
    futures = [
        name.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for name in node.names
    ]
    # Annotations such as `X | None` are texts then, which an old Python does not evaluate.
    assert not annotated or "annotations" in futures
    for node in ast.walk(tree):
        assert not _is_union_type(node), f"line {node.lineno}: isinstance takes tuples there"


def _is_union_type(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "issubclass")
        and isinstance(node.args[1], ast.BinOp)
    )


def loaded_on_a_device() -> list[Path]:
    """The three rooms, and every module that they load before anything is asked of them."""
    names = [
        ".".join(("gmme_edge", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in MODULES
        if path.name != "__init__.py"
    ]
    code = f"import importlib, json, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    code += "print(json.dumps([m.__file__ for n, m in sys.modules.items() if 'gmme_edge' in n]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [Path(path) for path in json.loads(done.stdout)]


def _annotations(tree: ast.AST) -> Iterator[ast.AST]:
    """What stays text, since every module says so."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.AnnAssign, ast.arg)) and node.annotation is not None:
            yield from ast.walk(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns:
            yield from ast.walk(node.returns)


def too_new(source: str) -> list[str]:
    """What Python 3.8 evaluates and does not know: generics of classes, and newer methods."""
    tree = ast.parse(source)
    generic = _GENERICS | {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in _ABC
        for name in node.names
    }
    texts = {id(node) for node in _annotations(tree)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if node.value.id in generic and id(node) not in texts:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and node.attr in _LATER:
            found.append(ast.unparse(node))
    return found


def test_nothing_that_python_3_8_evaluates_is_newer() -> None:
    found = {str(path): too_new(path.read_text("utf-8")) for path in loaded_on_a_device()}
    assert len(found) > len(MODULES)
    assert {path: names for path, names in found.items() if names} == {}


def test_the_rule_sees_what_is_newer() -> None:
    head = "from collections.abc import Callable\n"
    assert too_new(head + "def f(x: Callable[[], list[int]]) -> dict[str, int]: ...") == []
    assert too_new(head + "A = Callable[[], int]") and too_new("class A(list[int]): ...")
    assert too_new("p.is_relative_to(q)")


def test_the_standard_library_of_python_3_8_suffices() -> None:
    """By vermin, which knows since when each function and argument exists."""
    pytest.importorskip("vermin")
    command = [sys.executable, "-c", "import vermin; vermin.main()", "-t=3.8-", "--violations"]
    rooms = [str(path) for path in MODULES]
    done = subprocess.run([*command, *rooms], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
