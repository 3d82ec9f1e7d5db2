"""Around every command: errors become a message and an exit code; `--quiet` is understood."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from gmme_edge.cli.views.console import errors, stderr
from gmme_edge.errors import INTERRUPTED_EXIT_CODE, GmmeEdgeError, UsageError, translate

_ClickUsageError: Any = typer.BadParameter.__mro__[1]  # click's own, or that inside newer typers

_QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="No notes and no progress; errors are shown.")
]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--quiet`, and with what it raises as exit codes.

    With ``--json`` an error is one JSON object on stderr.
    """
    hints = get_type_hints(command, include_extras=True)
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
    def run(quiet: bool = False, **given: Any) -> None:  # noqa: ANN401 - whatever it takes
        before, stderr.quiet = stderr.quiet, quiet or stderr.quiet
        try:
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
            complain(known, as_json=bool(given.get("json")))
            raise typer.Exit(known.exit_code) from None
        finally:
            stderr.quiet = before

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


class ErrorsAsJson(TyperGroup):
    """The group of all commands: with ``--json``, wrong options are told as JSON, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's or typer's
        ctx.meta["gmme_edge.json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as click has it
        try:
            return super().invoke(ctx)
        except _ClickUsageError as error:
            if not ctx.meta["gmme_edge.json"]:
                raise
            complain(UsageError(error.format_message()), as_json=True)
            raise typer.Exit(UsageError.exit_code) from None
