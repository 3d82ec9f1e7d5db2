"""The trained networks that come with the package, found by name, such as ``esc10`` or ``digits``.

Each is a folder beside this file that is a checkpoint and a bundle at once
(`gmme_exporters.graphs.compact`), with a model card `README.md`.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def list_names() -> tuple[str, ...]:
    """Names of the shipped models, sorted."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("[!._]*/manifest.json")))


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a shipped model, where no file or folder of that name exists; else the path."""
    path = Path(name_or_path)
    if str(name_or_path) in list_names() and not path.exists():
        return FOLDER / path
    return path


def describe_choice(what: str) -> str:
    """`what` a path should have led to, "or a shipped model: …"; completes an error message."""
    names = list_names()
    return f"{what}, or a shipped model: {', '.join(names)}." if names else f"{what}."
