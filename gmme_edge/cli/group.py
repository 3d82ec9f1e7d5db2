"""The group of all commands: lists them without loading them, and reads ``gmme-edge.toml``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from gmme_edge.cli.options.config import current_config, find_config, read_config
from gmme_edge.errors import GmmeEdgeError, UsageError

_ClickUsageError: Any = typer.BadParameter.__mro__[1]  # click's own, or that inside newer typers


@dataclass(frozen=True)
class Listed:
    """What the list of commands tells of one: the first line of its help, and an example."""

    help: str
    example: str


class LazyCommands(Mapping[str, Any]):
    """Name → command, whose module is imported when it is asked for."""

    def __init__(self, listed: Mapping[str, Listed]) -> None:
        self._listed, self._built = listed, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - click's or typer's
        if name not in self._built:
            self._built[name] = _build(name, self._listed[name].example)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)

    def __contains__(self, name: object) -> bool:
        return name in self._listed


def _build(name: str, example: str) -> Any:  # noqa: ANN401 - click's or typer's
    from gmme_edge.cli.guard import guarded

    function = name.replace("-", "_")
    command = getattr(importlib.import_module(f"gmme_edge.cli.commands.{function}"), function)
    shown = f"Example: gmme-edge {example}"
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    explained = inspect.getdoc(command) or shown  # `python -OO` drops docstrings
    # A paragraph is one line here: the terminal's width wraps it, not the docstring's.
    explained = "\n\n".join(" ".join(part.split()) for part in explained.split("\n\n"))
    alone.command(name, cls=OneCommand, help=explained, epilog=shown)(guarded(command))
    return typer.main.get_command(alone)


class OneCommand(TyperCommand):
    """A command whose ``--help`` stands in a panel as all its options do."""

    def get_help_option(self, ctx: Any) -> Any:  # noqa: ANN401 - click's or typer's
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = "Output"
        return option


class Commands(TyperGroup):
    """The group of all commands, which knows ``gmme-edge.toml``.

    Its own help is plain text in panels, so that it loads neither a command nor rich. With
    ``--json``, wrong options are told as JSON, too.
    """

    panels: ClassVar[Mapping[str, Mapping[str, Listed]]] = {}

    def __init__(self, *given: Any, **more: Any) -> None:  # noqa: ANN401 - as typer has it
        super().__init__(*given, **more)
        listed = {name: each for panel in self.panels.values() for name, each in panel.items()}
        self.commands = LazyCommands(listed)  # type: ignore[assignment]  # none is ever added

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's or typer's
        mode, self.rich_markup_mode = self.rich_markup_mode, None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.rich_markup_mode = mode

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's or typer's
        for panel, listed in self.panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name, each.help) for name, each in listed.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's or typer's
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit(UsageError.exit_code)
        ctx.meta["gmme_edge.json"] = "--json" in args
        ctx.meta["gmme_edge.help"] = "--help" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as click has it
        outer = current_config.set(None)
        try:
            if ctx.default_map is None and not ctx.meta["gmme_edge.help"]:
                self._read_config(ctx)
            return super().invoke(ctx)
        except GmmeEdgeError as error:  # of the file; those of a command are told by its guard
            _complain(error, as_json=ctx.meta["gmme_edge.json"])
            raise typer.Exit(error.exit_code) from None
        except _ClickUsageError as error:
            _name_what_was_got(error)
            told = _in_config(error)
            if not (told or ctx.meta["gmme_edge.json"]):
                raise
            wrong = told or UsageError(error.format_message())
            _complain(wrong, as_json=ctx.meta["gmme_edge.json"])
            raise typer.Exit(UsageError.exit_code) from None
        finally:
            current_config.reset(outer)

    def _read_config(self, ctx: Any) -> None:  # noqa: ANN401 - click's or typer's
        if path := find_config():
            config = read_config(path, self.commands)
            ctx.default_map = config.defaults
            current_config.set(config)


def _name_what_was_got(error: Any) -> None:  # noqa: ANN401 - click's or typer's
    """Newer typers say what a value should be, and not which one it was."""
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if found and repr(got := found[0].get("input")) not in error.message:
        error.message = f"{got!r}: {error.message}"
    ctx = getattr(error, "ctx", None)
    if ctx is not None and ctx.info_name == "listen" and "extra argument" in error.message:
        error.message += ". A recording stands behind --file"


def _in_config(error: Any) -> UsageError | None:  # noqa: ANN401 - click's or typer's
    """A wrong value as its file's error; None where the command line gave it."""
    config, ctx, option = (
        current_config.get(),
        getattr(error, "ctx", None),
        getattr(error, "param", None),
    )
    if config is None or ctx is None or option is None:
        return None
    source = ctx.get_parameter_source(option.name)
    if getattr(source, "name", "") != "DEFAULT_MAP":
        return None
    flag = next(flag for flag in option.opts if flag.startswith("--"))
    return UsageError(f"{config.path}: [{ctx.info_name}] {flag[2:]}: {error.message}")


def _complain(error: GmmeEdgeError, as_json: bool) -> None:
    from gmme_edge.cli.guard import complain

    complain(error, as_json)
