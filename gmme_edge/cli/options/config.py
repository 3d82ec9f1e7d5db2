"""`gmme-edge.toml`: options that are given again and again, a table for each command.

    [profile]
    threads = "1,2"
    repetitions = 500

The nearest such file counts, upwards from the current folder. The command line wins.
"""

from __future__ import annotations

import inspect
import json
import os
import types
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from gmme_edge.errors import UsageError, reason
from gmme_edge.inputs import read_toml

NAME = "gmme-edge.toml"
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    Path: "a path in quotes",
    list: 'a list of texts: ["…"]',
}


@dataclass(frozen=True)
class Config:
    """What the file holds, checked: command → parameter → value."""

    path: Path
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


current_config: ContextVar[Config | None] = ContextVar("current_config", default=None)
"""Of the running program."""


def find_config(start: Path | None = None) -> Path | None:
    """The nearest file from `start` (the current folder) upwards."""
    try:
        folder = (start or Path.cwd()).resolve()
    except OSError:  # the current folder was removed
        return None
    for place in (folder, *folder.parents):
        if (place / NAME).is_file():
            return place / NAME
    return None


def read_config(path: Path, commands: Mapping[str, Any]) -> Config:
    """Read and check the file at `path`.

    Args:
        commands: click's or typer's, by name.

    Raises:
        UsageError: the file is no TOML or another user's; a table, key or value that no command
            takes.
    """
    defaults: dict[str, dict[str, Any]] = {}
    for name, table in _parse(path).items():
        if name not in commands:
            raise UsageError(
                f"{path} has {name!r}.", f"a table for a command: {', '.join(commands)}."
            )
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} is no table.", f"[{name}], and its options below.")
        options = _options(commands[name])
        given: dict[str, Any] = {}
        for key, value in table.items():
            if (option := options.get(key.replace("_", "-"))) is None:
                raise UsageError(
                    f"{path}: [{name}] has no option {key!r}.", f"one of {', '.join(options)}."
                )
            if not _fits(value, option.kind):
                raise UsageError(
                    f"{path}: [{name}] {key} is {json.dumps(value, default=str):.80}.",
                    f"{_WORDS[option.kind]}.",
                )
            if option.parameter in given:
                raise UsageError(f"{path}: [{name}] has {key!r} twice.", "each option once.")
            given[option.parameter] = value
        defaults[name] = given
    return Config(path, defaults)


def _parse(path: Path) -> dict[str, Any]:
    try:
        owner = path.stat().st_uid
        if os.getuid() not in (0, owner) and owner != 0:
            raise UsageError(
                f"{path} belongs to another user.", "a file of yours.", "remove it, or copy it."
            )
        return read_toml(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is no TOML: {reason(error)}.",
            "tables and options as docs/reference/config.md shows.",
        ) from error


@dataclass(frozen=True)
class _Option:
    """An option's parameter in Python, and which of `_WORDS` its value must be."""

    parameter: str
    kind: type


def _options(command: Any) -> dict[str, _Option]:  # noqa: ANN401 - click's or typer's
    """By its long names, without the dashes; arguments and ``--help`` are none."""
    hints = {p.name: p.annotation for p in inspect.signature(command.callback).parameters.values()}
    return {
        flag[2:]: _Option(each.name, _kind(hints[each.name]))
        for each in command.params
        if each.name in hints
        for flag in each.opts
        if flag.startswith("--")
    }


def _kind(hint: Any) -> type:  # noqa: ANN401 - any annotation
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    kind: type = get_origin(hint) or hint
    return kind


def _fits(value: object, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    wanted = {float: (int, float), Path: (str,)}.get(kind, (kind,))
    return isinstance(value, wanted) and isinstance(value, bool) == (kind is bool)
