"""Settings as data: frozen dataclasses whose fields know their help text, bounds and partners.

A group is written once and serves both a Python caller and the command line:

    @dataclass(frozen=True, kw_only=True)
    class EngineSettings(Settings):
        engine: str | None = setting(None, "Also build engines.", choices=("tensorrt-rtx",))
        sm: str | None = setting(None, "GPU generations.", needs="engine")

`gmme_edge.cli.options.signature` makes the options ``--engine`` and ``--sm`` of it. A group checks
itself when it is made, so what reaches a workflow is always consistent. A text stands for a path,
and a list for a tuple; any other value of another type is an error.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import shlex
import types
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from gmme_edge.errors import UsageError, shorten
from gmme_edge.kinds import fit, is_of, with_whole_numbers, wrong_kind


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting, beside its type and default.

    Attributes:
        flags: option names where they are not made of the field's name; ``--x/--no-x`` for both.
        least, most: inclusive bounds of a number.
        choices: the texts that are allowed.
        needs: the field of the same group without which this one means nothing; or several, of
            which one suffices.
        panel: the heading under which ``--help`` lists it.
    """

    help: str
    flags: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    needs: str | tuple[str, ...] = ()
    panel: str = ""
    metavar: str | None = None

    @property
    def partners(self) -> tuple[str, ...]:
        return (self.needs,) if isinstance(self.needs, str) else self.needs


def setting(default: object, help: str, *flags: str, **facts: Any) -> Any:  # noqa: A002, ANN401 - any field's type
    """A field of a group: its default (`MISSING` where it must be given) and its `Setting`."""
    known = Setting(help=help, flags=flags, **facts)
    return field(default=default, metadata={"setting": known})


class Settings:
    """Base of every group; subclasses are frozen, keyword-only dataclasses.

    Attributes:
        panel: the heading of those of its settings that name none of their own.

    Raises:
        UsageError: a value of another type or out of bounds, an unknown choice, or a setting
            without its partner.
    """

    panel: ClassVar[str] = ""

    def __post_init__(self) -> None:
        fit_fields(self)
        for each in settings_of(type(self)):
            value, known = getattr(self, each.name), each.metadata["setting"]
            if is_given(self, each.name):
                _check_value(flag_of(each), value, known)
                _check_partner(self, each, known)
        self.check()

    def check(self) -> None:
        """What concerns several settings at once; a group overrides it where it has such rules."""


def fit_fields(group: Any) -> None:  # noqa: ANN401 - any frozen dataclass
    """Put what is meant in place of what was given; `UsageError` for a value of another type."""
    for name, kinds in _kinds_of(type(group)).items():  # type: ignore[arg-type] # classes are hashable
        value = getattr(group, name)
        fitting = fit(value, kinds)
        if not is_of(fitting, kinds):
            flags = {each.name: flag_of(each) for each in settings_of(type(group))}
            raise wrong_kind(flags.get(name, name), value, kinds)
        if fitting is not value:
            object.__setattr__(group, name, fitting)


@functools.cache
def _kinds_of(group: type) -> dict[str, tuple[type, ...]]:
    """Per field the classes of which its value may be."""
    hints, kinds = get_type_hints(group), {}
    for each in dataclasses.fields(group):
        hint = hints[each.name]
        parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        kinds[each.name] = with_whole_numbers(tuple(get_origin(part) or part for part in parts))
    return kinds


def settings_of(group: type) -> list[dataclasses.Field[Any]]:
    """The fields of a group that were made by `setting`."""
    return [each for each in dataclasses.fields(group) if "setting" in each.metadata]


def is_given(group: Settings, name: str) -> bool:
    """Whether a field differs from its default."""
    default = next(each.default for each in dataclasses.fields(group) if each.name == name)  # type: ignore[arg-type]
    return default is MISSING or getattr(group, name) != default


def flag_of(each: dataclasses.Field[Any]) -> str:
    """The option as users write it, for messages: ``--max-float-macs``."""
    flags = each.metadata["setting"].flags
    named = next((flag for flag in flags if flag.startswith("--")), "")
    return named.partition("/")[0] or "--" + each.name.replace("_", "-")


def command_line(verb: str, arguments: Iterable[object], *groups: Settings) -> str:
    """The call of `gmme-edge` that says what `groups` hold, without what is a default."""
    words = [word for group in groups for word in words_of(group)]
    return shlex.join(["gmme-edge", verb, *map(str, arguments), *words])


def words_of(group: Settings) -> list[str]:
    """The options of a group, and of the groups in it, whose values are no defaults."""
    words: list[str] = []
    for each in dataclasses.fields(group):  # type: ignore[arg-type]
        value = getattr(group, each.name)
        if isinstance(value, Settings):
            words += words_of(value)
        elif "setting" in each.metadata and is_given(group, each.name):
            words += _say(each, value)
    return words


def _say(each: dataclasses.Field[Any], value: object) -> list[str]:
    flag = flag_of(each)
    if isinstance(value, bool):
        no = next((f.partition("/")[2] for f in each.metadata["setting"].flags if "/" in f), "")
        return [flag if value else no] if value or no else []
    values = value if isinstance(value, tuple) else (value,)
    return [word for one in values for word in (flag, str(one))]


def _check_value(flag: str, value: object, known: Setting) -> None:
    if known.choices and value not in known.choices:
        raise UsageError(f"{flag} is {value!r}.", f"one of {', '.join(known.choices)}.")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UsageError(f"{flag} is {shorten(value)}.", "a number within ±2^63.")
    low, high = known.least, known.most
    bad = not math.isfinite(value) or (low is not None and value < low)
    if bad or (high is not None and value > high):
        bounds = [f"at least {low:g}"] if low is not None else []
        bounds += [f"at most {high:g}"] if high is not None else []
        expected = " and ".join(bounds) or "a number"
        raise UsageError(f"{flag} is {value}.", f"{expected}.")


def _check_partner(group: Settings, each: dataclasses.Field[Any], known: Setting) -> None:
    if not known.partners or any(is_given(group, name) for name in known.partners):
        return
    flags = {field.name: flag_of(field) for field in settings_of(type(group))}
    others = " or ".join(flags[name] for name in known.partners)
    raise UsageError(f"{flags[each.name]} without {others}.", "both, or neither.", f"add {others}.")
