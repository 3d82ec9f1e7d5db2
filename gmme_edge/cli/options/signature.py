"""From a group of settings to the options of a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from gmme_edge.settings import Setting, Settings, settings_of

_Command = Callable[..., None]


def with_options(command: _Command) -> _Command:
    """The command with every parameter that is a `Settings` group spread into its options.

    Typer sees one option per field; the command receives the checked groups.

    Raises:
        TypeError: two groups of one command have a field of the same name.
    """
    # Not `get_type_hints`: Python 3.10's wraps what defaults to None once more, and hides it.
    hints = inspect.get_annotations(command, eval_str=True)
    signature = inspect.signature(command)
    groups = {name: hints[name] for name in signature.parameters if _is_group(hints[name])}
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in signature.parameters.items():
        spread = (
            _options(groups[name])
            if name in groups
            else [parameter.replace(annotation=hints[name])]
        )
        for option in spread:
            if option.name in parameters:
                raise TypeError(f"{command.__name__} has two options {option.name}")
            parameters[option.name] = option.replace(kind=inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(command)
    def run(**given: object) -> None:
        made = {name: _make(group, given) for name, group in groups.items()}
        command(**given, **made)

    run.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return run


def _is_group(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _make(group: type[Settings], given: dict[str, object]) -> Settings:
    """Take a group's values, and those of the groups in it, out of what the command line gave."""
    values: dict[str, object] = {
        name: _make(inner, given) for name, inner in _inner_groups(group).items()
    }
    values |= {each.name: given.pop(each.name) for each in settings_of(group)}
    return group(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _options(group: type[Settings]) -> list[inspect.Parameter]:
    hints = get_type_hints(group)
    inner = [option for each in _inner_groups(group).values() for option in _options(each)]
    return inner + [_option(each, hints[each.name], group.panel) for each in settings_of(group)]


def _inner_groups(group: type[Settings]) -> dict[str, type[Settings]]:
    """The fields of a group that are groups themselves."""
    return {name: hint for name, hint in get_type_hints(group).items() if _is_group(hint)}


def _range(known: Setting) -> str | None:
    """What `--help` says of a number's bounds; the group checks them, in words of its own."""
    if known.least is None:
        return None
    far = known.most is None or known.most >= 1e6
    return f"from {known.least:g}" if far else f"{known.least:g}..{known.most:g}"


def _option(
    each: dataclasses.Field[Any],
    hint: Any,  # noqa: ANN401 - a type, to be annotated
    panel: str,
) -> inspect.Parameter:
    known = each.metadata["setting"]
    option = typer.Option(
        *known.flags,
        help=known.help,
        metavar=known.metavar or "|".join(known.choices) or _range(known),
        rich_help_panel=known.panel or panel or None,
    )
    default: Any = each.default
    if hint == tuple[str, ...]:  # typer knows lists only
        hint, default = list[str], list(default)
    return inspect.Parameter(
        each.name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[hint, option],
        default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
    )
