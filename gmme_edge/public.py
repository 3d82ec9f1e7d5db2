"""Around the functions that a program calls: whatever goes wrong is one of the package's errors.

    @public
    def export(source: str | Path, settings: ExportSettings) -> Exported: ...

An argument of another type than its annotation names is a `UsageError`, where that names texts,
numbers, paths or groups of settings. A text stands for a path. What any code may raise, such as a
`MemoryError`, becomes what a command would say (`errors.translate`).
"""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, TypeVar, cast, get_args  # noqa: UP035

from gmme_edge.errors import UsageError, shorten, translate

_Function = TypeVar("_Function", bound=Callable[..., Any])
_BUILTIN: dict[str, type] = {
    "str": str, "int": numbers.Integral, "float": numbers.Real, "Path": Path, "None": type(None),
}  # fmt: skip
_WORDS: dict[type, str] = {
    numbers.Integral: "a whole number", numbers.Real: "a number", str: "a text", Path: "a path",
    type(None): "None",
}  # fmt: skip


def public(function: _Function) -> _Function:
    """`function`, with its arguments checked and with the package's own errors."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*given: object, **named: object) -> object:
        try:
            bound = signature.bind(*given, **named)
        except TypeError:  # Python's own words are the best
            return function(*given, **named)
        for name, value in bound.arguments.items():
            hint = str(signature.parameters[name].annotation)
            bound.arguments[name] = _fit(value, hint, function.__globals__, name)
        with own_errors():
            return function(*bound.args, **bound.kwargs)

    return cast(_Function, call)


class own_errors:  # noqa: N801 - used as a function
    """A block in which what any code may raise becomes the package's own."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, BrokenPipeError):
            return  # whoever reads the output has left, which is no fault
        known = translate(error)
        if known is not None and known is not error:
            raise known from error


def _fit(value: object, hint: str, names: dict[str, Any], what: str) -> object:
    """`value`, a text as a path where that is wanted; anything where `hint` names no known type."""
    if hint.startswith("Sequence[") and hint.endswith("]"):
        if isinstance(value, (str, bytes, Path)) or not isinstance(value, Iterable):
            raise _wrong(value, what, "several, such as a list")
        inner = hint[len("Sequence[") : -1]
        return [_fit(each, inner, names, f"{what}[{i}]") for i, each in enumerate(value)]
    kinds = _kinds(hint, names)
    if not kinds or isinstance(value, kinds):
        return value
    if Path in kinds and isinstance(value, str):
        return Path(value)
    words = [_WORDS.get(kind, kind.__name__) for kind in kinds]
    raise _wrong(value, what, " or ".join(words))


def _kinds(hint: str, names: dict[str, Any]) -> tuple[type, ...]:
    """The classes that an annotation names; none where it names anything else as well."""
    found: tuple[type, ...] = ()
    for part in hint.split(" | "):
        kind = _BUILTIN.get(part, names.get(part))
        each = get_args(kind) or (kind,)
        if not all(k in _WORDS or hasattr(k, "__dataclass_fields__") for k in each):
            return ()
        found += each
    return found


def _wrong(value: object, what: str, expected: str) -> UsageError:
    return UsageError(
        f"{what} is {shorten(value)}, of type {type(value).__name__}.", f"{expected}."
    )
