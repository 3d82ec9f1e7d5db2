"""Which folds a cross-validation runs, and where."""

from __future__ import annotations

import json
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.inputs import read_text

RESULT = "cross-validation.json"


def fold_folder(fold: int) -> str:
    return f"fold-{fold}"


def parse_folds(text: str, count: int) -> tuple[int, ...]:
    """``"all"`` or ``"1,3"`` → folds from 1 to `count`; `UsageError` for anything else."""
    if text == "all":
        return tuple(range(1, count + 1))
    parts = [part.strip() for part in text.split(",")]
    numbers = {int(part) for part in parts if part.isascii() and part.isdigit()}
    if len(numbers) < len(parts) or not numbers <= set(range(1, count + 1)):
        raise UsageError(f"--folds {text}", f"all, or different folds from 1 to {count}: 1,3.")
    return tuple(sorted(numbers))


def is_result(path: Path) -> bool:
    """Whether `path` is what a cross-validation wrote."""
    try:
        values = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"folds", "pooled"} <= values.keys()
