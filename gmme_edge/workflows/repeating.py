"""Which call made a result or a bundle, and whether it can be made again here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from gmme_edge.errors import InputError
from gmme_edge.inputs import read_json
from gmme_edge.pretrained import list_names, resolve

PROGRAM = "gmme-edge"
REPEATABLE = ("profile", "evaluate", "export", "train", "sensitivity", "compare", "paired")
_SCHEMA = 1
_MANIFEST = "manifest.json"


def recorded_command(path: Path) -> tuple[str, ...]:
    """The words behind ``gmme-edge`` of the call that a result or a bundle's manifest records.

    A file may come from anywhere, so that only commands which measure or make something count.

    Raises:
        InputError: no such file, none that records a call, or a call of something else.
    """
    path = resolve(path)
    file = path / _MANIFEST if path.is_dir() else path
    values = read_json(file, "result or manifest", _SCHEMA)
    noted = values.get("provenance") if "kind" not in values else values
    command = noted.get("command") if isinstance(noted, dict) else None
    if not isinstance(command, str) or not command:
        raise InputError(
            f"{file} does not say which command made it.",
            "a result of profile, evaluate, sensitivity, paired or train --folds, or a bundle's "
            "manifest, of this version.",
            "make it once more by hand.",
        )
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"{file} records a command that is none: {error}.") from error
    if len(words) < 2 or words[0] != PROGRAM or words[1] not in REPEATABLE:
        raise InputError(
            f"{file} was made by: {command:.200}",
            f"one of {PROGRAM} {', '.join(REPEATABLE)}.",
            "run it yourself, on the machine that it is for.",
        )
    return tuple(words[1:])


def check_inputs(file: Path, inputs: Iterable[str]) -> None:
    """Raise `InputError` where what a recorded call reads is no longer there.

    Args:
        inputs: paths, or names of shipped models.
    """
    gone = [each for each in inputs if each not in list_names() and not _is_there(each)]
    if gone:
        raise InputError(
            f"{file} cannot be made again here: {', '.join(gone)} "
            f"{'is' if len(gone) == 1 else 'are'} gone.",
            "every file and folder that it was made of.",
            "bring them back, or go to the folder where it was made: paths are relative to it.",
        )


def _is_there(name: str) -> bool:
    start = name.partition("{")[0]  # {fold} stands for a number
    return Path(name).exists() or (start != name and Path(start).parent.exists())
