"""Around the functions that a program calls: whatever goes wrong is one of the package's errors.

    @public
    def export(source: str | Path, settings: ExportSettings) -> Exported: ...

An argument of another type than its annotation names is a `UsageError`, where that names texts,
numbers, paths, groups of settings or observers. A text stands for a path. What any code may raise,
such as a `MemoryError`, becomes what a command would say (`errors.translate`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, TypeVar, cast, get_args  # noqa: UP035

from gmme_edge.errors import translate
from gmme_edge.kinds import WORDS, fit, is_of, not_such, with_whole_numbers, wrong_kind
from gmme_edge.observer import Observer

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NAMED = {"None": type(None), **{kind.__name__: kind for kind in WORDS}}


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


@contextmanager
def own_errors() -> Iterator[None]:
    """A block in which what any code may raise becomes the package's own."""
    try:
        yield
    except BrokenPipeError:  # whoever reads the output has left, which is no fault
        raise
    except Exception as error:
        known = translate(error)
        if known is None or known is error:
            raise
        raise known from error


def _fit(value: object, hint: str, names: dict[str, Any], what: str) -> object:
    """`value`, a text as a path where that is wanted; anything where `hint` names no known type."""
    if hint.startswith("Sequence[") and hint.endswith("]"):
        if isinstance(value, (str, bytes, Path)) or not isinstance(value, Iterable):
            raise not_such(what, value, "several, such as a list")
        inner = hint[len("Sequence[") : -1]
        return [_fit(each, inner, names, f"{what}[{i}]") for i, each in enumerate(value)]
    kinds = _kinds(hint, names)
    if not kinds:
        return value
    fitting = fit(value, kinds)
    if not is_of(fitting, kinds):
        raise wrong_kind(what, value, kinds)
    return fitting


def _kinds(hint: str, names: dict[str, Any]) -> tuple[type, ...]:
    """The classes that an annotation names; none where it names anything else as well."""
    found: tuple[type, ...] = ()
    for part in hint.split(" | "):
        kind = _NAMED.get(part, names.get(part))
        each = get_args(kind) or (kind,)
        if not all(k in WORDS or _is_checked(k) for k in each):
            return ()
        found += each
    return with_whole_numbers(found)


def _is_checked(kind: Any) -> bool:  # noqa: ANN401 - whatever an annotation names
    """Groups of settings, and who watches."""
    is_observer = isinstance(kind, type) and issubclass(kind, Observer)
    return is_observer or hasattr(kind, "__dataclass_fields__")
