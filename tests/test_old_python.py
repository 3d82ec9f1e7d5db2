"""What a board runs from source keeps to the syntax of its old Python."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gmme_edge

PACKAGE = Path(gmme_edge.__file__).parent
MODULES = sorted(
    p for room in ("runtime", "bundle", "device") for p in (PACKAGE / room).rglob("*.py")
)


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
