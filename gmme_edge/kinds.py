"""Of which kinds a value may be, and what stands for another: a text for a path."""

from __future__ import annotations

import numbers
from pathlib import Path, PurePath

from gmme_edge.errors import UsageError, shorten

WORDS = {
    bool: "True or False", int: "a whole number", float: "a number", str: "a text",
    Path: "a path", tuple: "a tuple of texts", type(None): "None",
}  # fmt: skip


def with_whole_numbers(kinds: tuple[type, ...]) -> tuple[type, ...]:
    """Where any number will do, a whole one will."""
    return (*kinds, int) if float in kinds else kinds


def fit(value: object, kinds: tuple[type, ...]) -> object:
    """A text as the path, a list as the tuple, and numpy's number as the one that is wanted."""
    if isinstance(value, (bool, *kinds)):
        return value
    if Path in kinds and isinstance(value, (str, PurePath)):
        return Path(value)
    if tuple in kinds and isinstance(value, list):
        return tuple(value)
    if int in kinds and isinstance(value, numbers.Integral):
        return int(value)
    if float in kinds and isinstance(value, numbers.Real):
        return float(value)
    return value


def is_of(value: object, kinds: tuple[type, ...]) -> bool:
    """As `isinstance`, where True is no number, a tuple holds texts, and no path holds a NUL."""
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
        return False
    return isinstance(value, kinds) and not (isinstance(value, Path) and "\0" in str(value))


def wrong_kind(what: str, value: object, kinds: tuple[type, ...]) -> UsageError:
    known = [kind for kind in kinds if not (kind is int and float in kinds)]
    expected = " or ".join(WORDS.get(kind, kind.__name__) for kind in known)
    return not_such(what, value, expected)


def not_such(what: str, value: object, expected: str) -> UsageError:
    """The error about a value of another type than `expected` says."""
    got = f"{what} is {shorten(value)}, of type {type(value).__name__}."
    return UsageError(got, f"{expected}.")
