"""The parts in `script` joined into the one file that a board runs."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

from gmme_exporters.board.script import cpu, device, engines, folder, measure, start

_PARTS = (folder, device, engines, cpu, measure)
_OWN = "gmme_exporters."


def device_script() -> str:
    """`start`, then the imports of all parts, then what follows them in each part.

    A part begins with its docstring, which becomes a heading, and its imports.
    """
    modules: set[str] = set()
    names: dict[str, set[str]] = {}
    bodies = []
    for part in _PARTS:
        text = _source(part)
        docstring, *statements = ast.parse(text).body
        last = docstring
        for node in statements:
            if isinstance(node, ast.Import):
                modules.add(ast.unparse(node))
            elif not isinstance(node, ast.ImportFrom):
                break
            elif node.module and not node.module.startswith(_OWN):
                names.setdefault(node.module, set()).update(alias.name for alias in node.names)
            last = node
        body = "".join(text.splitlines(keepends=True)[last.end_lineno :])
        heading = (part.__doc__ or "").strip(".").lower()
        bodies.append(f"# ---- {heading}\n\n\n{body.lstrip()}")
    chosen = (f"from {name} import {', '.join(sorted(names[name]))}" for name in sorted(names))
    imports = "\n".join([*sorted(modules - {"import os", "import sys"}), *chosen])
    return "\n\n".join([f"{_source(start)}\n{imports}\n", *bodies])


def _source(part: ModuleType) -> str:
    return Path(str(part.__file__)).read_text(encoding="utf-8")
