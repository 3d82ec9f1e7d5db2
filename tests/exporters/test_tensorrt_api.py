"""The names that the project uses from TensorRT, against what each version's bindings offer."""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import gmme_edge
import gmme_exporters.tensorrt.build
from tests.exporters.tensorrt_api import COLUMNS, TABLE

ROOTS = (Path(gmme_edge.__file__).parent, Path(gmme_exporters.tensorrt.build.__file__).parent)
# What the project calls its objects of the library, and their classes.
OBJECTS = {
    "builder": "Builder", "config": "IBuilderConfig", "network": "INetworkDefinition",
    "parser": "OnnxParser", "failure": "ParserError", "profile": "IOptimizationProfile",
    "runtime": "Runtime", "engine": "ICudaEngine", "context": "IExecutionContext",
    "inspector": "EngineInspector", "cache": "ITimingCache", "flags":
    "NetworkDefinitionCreationFlag", "levels": "HardwareCompatibilityLevel",
}  # fmt: skip
NAMES: dict[str, str] = json.loads(TABLE.read_text())["names"]


def chain_of(node: ast.AST) -> list[str]:
    """``self._library.BuilderFlag.FP16`` → ["self", "_library", "BuilderFlag", "FP16"]."""
    if isinstance(node, ast.Attribute) and (root := chain_of(node.value)):
        return [*root, node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def name_of(node: ast.AST) -> str:
    """The table's name of an attribute of the library or of one of its objects, or ""."""
    root, *rest = chain_of(node) or [""]
    if root == "self" and rest:
        root, *rest = rest
    rest = list(itertools.takewhile(lambda part: not part.startswith("_"), rest))
    if not rest:
        return ""
    if root.lstrip("_") == "library":
        return ".".join(rest[:2])
    return f"{OBJECTS[root]}.{rest[0]}" if root in OBJECTS else ""


def used_names(tree: ast.AST) -> Iterator[str]:
    yield from (name for node in ast.walk(tree) if (name := name_of(node)))


def asked_names(tree: ast.AST) -> set[str]:
    """The strings that `hasattr` is given: names that the module knows may be missing."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "hasattr"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def complaints(source: str, names: dict[str, str]) -> list[str]:
    """Each name that some version lacks and that the module does not ask for before it is used.

    Names that only TensorRT-RTX has may be used in a module that tells the two apart.
    """
    tree = ast.parse(source)
    asked, found = asked_names(tree), []
    for name in sorted(set(used_names(tree))):
        columns = names.get(name, "0" * len(COLUMNS))
        only_rtx = columns == "000001" and "tensorrt-rtx" in source.lower()
        if "0" in columns and not only_rtx and name.split(".")[-1] not in asked:
            lacking = [c for c, has in zip(COLUMNS, columns, strict=True) if has == "0"]
            found.append(f"{name} is missing in {', '.join(lacking)}")
    return found


def modules() -> list[Path]:
    """Every module that handles the library."""
    files = [path for root in ROOTS for path in sorted(root.rglob("*.py"))]
    return [
        path
        for path in files
        if path.parent.name in ("tensorrt", "engines") or "shared_logger" in path.read_text()
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_every_version_has_what_is_used_or_is_asked_first(path: Path) -> None:
    assert complaints(path.read_text(), NAMES) == []


def test_the_uses_are_really_collected() -> None:
    used = {name for path in modules() for name in used_names(ast.parse(path.read_text()))}
    assert used >= {
        "Builder", "Builder.create_network", "IBuilderConfig.set_flag", "IProgressMonitor",
        "IBuilderConfig.progress_monitor", "Runtime", "ICudaEngine.num_io_tensors",
        "IExecutionContext.execute_async_v3", "OnnxParser.parse_from_file", "ParserError.desc",
        "MemoryPoolType.WORKSPACE", "float32", "ILogger.ERROR", "IBuilderConfig.set_timing_cache",
        "EngineInspector.get_engine_information", "IOptimizationProfile.set_shape",
        "ComputeCapability", "BuilderFlag.GPU_FALLBACK",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("config.set_flag(library.BuilderFlag.BF16)", "BuilderFlag.BF16 is missing in 8.6, 11.4, "),
        ("self._library.IProgressMonitor", "IProgressMonitor is missing in 8.6"),
        ("context.execute_async_v2([])", "IExecutionContext.execute_async_v2 is missing in 10.3, "),
        ("config.max_workspace_size = 1", "IBuilderConfig.max_workspace_size is missing in 10.3"),
        ("library.ComputeCapability.SM89", "ComputeCapability.SM89 is missing in 8.6, 10.3, "),
        ("builder.make_coffee()", "Builder.make_coffee is missing in 8.6, 10.3, 10.13, 10.16, "),
    ],
)
def test_a_name_that_one_version_lacks_is_found(source: str, complaint: str) -> None:
    found = complaints(source, NAMES)
    assert any(text.startswith(complaint) for text in found), found


def test_asking_first_is_enough() -> None:
    assert not complaints(
        "if hasattr(library.BuilderFlag, 'BF16'):\n    config.set_flag(library.BuilderFlag.BF16)",
        NAMES,
    )


@pytest.mark.parametrize(
    "name", ["Builder.create_network", "float32", "ICudaEngine.get_tensor_name"]
)
@pytest.mark.parametrize("column", range(len(COLUMNS)), ids=list(COLUMNS))
def test_a_name_that_vanishes_from_one_version_fails(name: str, column: int) -> None:
    columns = NAMES[name]
    changed = NAMES | {name: columns[:column] + "0" + columns[column + 1 :]}
    found = [text for path in modules() for text in complaints(path.read_text(), changed)]
    assert f"{name} is missing in {list(COLUMNS)[column]}" in found


def test_names_that_are_asked_for_exist_somewhere() -> None:
    """A typing error in `hasattr` would switch a feature off everywhere, in silence."""
    asked = {name for path in modules() for name in asked_names(ast.parse(path.read_text()))}
    known = {name.rpartition(".")[2] for name, columns in NAMES.items() if "1" in columns}
    assert asked and asked <= known


def test_the_table_is_what_the_installed_bindings_offer() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    assert COLUMNS["rtx"].split()[1].rstrip(",") == rtx.__version__
    for name, columns in NAMES.items():
        holder, _, member = name.rpartition(".")
        owner = getattr(rtx, holder, None) if holder else rtx
        assert hasattr(owner, member) == (columns[-1] == "1"), name
