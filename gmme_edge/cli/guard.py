"""Around every command: errors become a message and an exit code; `--quiet` is understood."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gmme_edge.cli.options.config import Config, find_config, read_config
from gmme_edge.cli.views.console import config_file, errors, stderr
from gmme_edge.errors import INTERRUPTED_EXIT_CODE, GmmeEdgeError, UsageError, translate

_ClickUsageError: Any = typer.BadParameter.__mro__[1]  # click's own, or that inside newer typers

_config: ContextVar[Config | None] = ContextVar("config", default=None)

_QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="No notes and no progress; errors are shown.")
]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--quiet`, and with what it raises as exit codes.

    With ``--json`` an error is one JSON object on stderr.
    """
    hints = inspect.get_annotations(command, eval_str=True)
    parameters = [
        *(
            p.replace(annotation=hints[p.name])
            for p in inspect.signature(command).parameters.values()
        ),
        inspect.Parameter(
            "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_QuietOption
        ),
    ]

    @functools.wraps(command)
    def run(quiet: bool = False, **given: object) -> None:
        before, stderr.quiet = stderr.quiet, quiet or stderr.quiet
        config, name = _config.get(), command.__name__.replace("_", "-")
        used = str(config.path) if config and config.defaults.get(name) else ""
        options_from = config_file.set(used)
        try:
            if used:
                stderr.print(f"options of [{name}] from {used}", soft_wrap=True)
            command(**given)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        except BrokenPipeError:  # `| head` closed the pipe; typer knows how to end quietly
            raise
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            if used and isinstance(known, UsageError):
                got = f"{known.got} Options also come from [{name}] of {used}."
                known = UsageError(got, known.expected, known.fix)
            complain(known, as_json=bool(given.get("json")))
            raise typer.Exit(known.exit_code) from None
        finally:
            stderr.quiet = before
            config_file.reset(options_from)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def complain(error: GmmeEdgeError, as_json: bool) -> None:
    """Tell an error on stderr."""
    if not as_json:
        errors.print(f"error: {error}", style="red", soft_wrap=True)
        return
    told = {
        "kind": type(error).__name__, "exit_code": error.exit_code, "got": error.got,
        "expected": error.expected, "fix": error.fix,
    }  # fmt: skip
    sys.stderr.write(json.dumps({"error": told}, indent=2) + "\n")


class Commands(TyperGroup):
    """The group of all commands, which knows ``gmme-edge.toml``.

    With ``--json``, wrong options are told as JSON, too.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's or typer's
        ctx.meta["gmme_edge.json"] = "--json" in args
        ctx.meta["gmme_edge.help"] = "--help" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as click has it
        outer = _config.set(None)
        try:
            if ctx.default_map is None and not ctx.meta["gmme_edge.help"]:
                self._read_config(ctx)
            return super().invoke(ctx)
        except GmmeEdgeError as error:  # of the file; those of a command are told by its guard
            complain(error, as_json=ctx.meta["gmme_edge.json"])
            raise typer.Exit(error.exit_code) from None
        except _ClickUsageError as error:
            told = _in_config(error)
            if not (told or ctx.meta["gmme_edge.json"]):
                raise
            wrong = told or UsageError(error.format_message())
            complain(wrong, as_json=ctx.meta["gmme_edge.json"])
            raise typer.Exit(UsageError.exit_code) from None
        finally:
            _config.reset(outer)

    def _read_config(self, ctx: Any) -> None:  # noqa: ANN401 - click's or typer's
        if path := find_config():
            config = read_config(path, self.commands)
            ctx.default_map = config.defaults
            _config.set(config)


def _in_config(error: Any) -> UsageError | None:  # noqa: ANN401 - click's or typer's
    """A wrong value as its file's error; None where the command line gave it."""
    config, ctx, option = _config.get(), getattr(error, "ctx", None), getattr(error, "param", None)
    if config is None or ctx is None or option is None:
        return None
    source = ctx.get_parameter_source(option.name)
    if getattr(source, "name", "") != "DEFAULT_MAP":
        return None
    flag = next(flag for flag in option.opts if flag.startswith("--"))
    return UsageError(f"{config.path}: [{ctx.info_name}] {flag[2:]}: {error.message}")
