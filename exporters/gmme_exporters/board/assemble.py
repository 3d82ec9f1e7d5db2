"""The parts in `script`, and modules of the package, joined into the one file that a board runs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import ModuleType

from gmme_edge.device import boards, state, system
from gmme_edge.device import cpu as limits
from gmme_edge.device.energy import meter, rails, rapl
from gmme_edge.profiling import calls, noise, power, statistics, windows
from gmme_exporters.board.script import (
    cpu,
    device,
    engines,
    folder,
    measure,
    nvml,
    result,
    run,
    start,
)

_PARTS = (
    folder, system, limits, boards, device, state, meter, rails, rapl, nvml, power, calls, windows,
    statistics, noise, engines, cpu, measure, result, run,
)  # fmt: skip
_OWN = ("gmme_exporters", "gmme_edge", "__future__")
_FUTURE = "from __future__ import annotations"
_PLAIN = ("None", "bool", "bytes", "float", "int", "object", "str")


def device_script() -> str:
    """`start`, then the imports of all parts, then what follows them in each part.

    A part begins with its docstring, which becomes a heading, and its imports.
    """
    modules: set[str] = set()
    names: dict[str, set[str]] = {}
    bodies = []
    for part in _PARTS:
        text = _source(part)
        text = _quote_annotations(text) if _FUTURE in text else text
        docstring, *statements = ast.parse(text).body
        used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        last = docstring
        for node in statements:
            if isinstance(node, ast.Import):
                modules.add(ast.unparse(node))
            elif not isinstance(node, ast.ImportFrom):
                break
            elif (node.module or "").partition(".")[0] not in _OWN:
                found = {alias.name for alias in node.names if alias.name in used}
                names.setdefault(node.module or "", set()).update(found)
            last = node
        body = "".join(text.splitlines(keepends=True)[last.end_lineno :])
        heading = (part.__doc__ or "").strip().splitlines()[0].strip(".").lower()
        bodies.append(f"# ---- {heading}\n\n\n{body.lstrip()}")
    chosen = (f"from {n} import {', '.join(sorted(names[n]))}" for n in sorted(names) if names[n])
    imports = "\n".join([*sorted(modules - {"import os", "import sys"}), *chosen])
    return "\n\n".join([f"{_source(start)}\n{imports}\n", *bodies])


def _quote_annotations(text: str) -> str:
    """Annotations as texts, which a board's Python need not understand.

    In the package `_FUTURE` does this. Python 3.6 does not know it, and would refuse the whole
    script before it has said that it is too old.
    """
    found = [
        annotation
        for node in ast.walk(ast.parse(text))
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if isinstance(annotation, ast.expr) and ast.unparse(annotation) not in _PLAIN
    ]
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for each in sorted(found, key=lambda a: (a.lineno, a.col_offset), reverse=True):
        first, last = each.lineno - 1, (each.end_lineno or each.lineno) - 1
        before, after = lines[first][: each.col_offset], lines[last][each.end_col_offset :]
        quoted = json.dumps(ast.unparse(each)).encode()
        lines[first : last + 1] = [before + quoted + after]
    return b"".join(lines).decode()


def _source(part: ModuleType) -> str:
    return Path(str(part.__file__)).read_text(encoding="utf-8")
