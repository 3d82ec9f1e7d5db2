"""Around every command: errors become a message and an exit code; `--quiet` is understood.

SIGTERM, which stops containers and services, and SIGHUP end a command as Ctrl-C does.
"""

from __future__ import annotations

import errno
import functools
import inspect
import json
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from gmme_edge.cli.options.config import current_config
from gmme_edge.cli.views.console import config_file, discard, errors, stderr
from gmme_edge.errors import (
    CLOSED_PIPE_EXIT_CODE,
    INTERRUPTED_EXIT_CODE,
    GmmeEdgeError,
    UsageError,
    translate,
)
from gmme_edge.interrupt import interrupt_on_signal
from gmme_edge.observer import ToldInterrupt

_QuietOption = Annotated[
    bool,
    typer.Option(
        "-q",
        "--quiet",
        help="No notes and no progress; errors are shown.",
        rich_help_panel="Output",
    ),
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
        config, name = current_config.get(), command.__name__.replace("_", "-")
        used = str(config.path) if config and config.defaults.get(name) else ""
        options_from = config_file.set(used)
        try:
            if used:
                stderr.print(f"options of [{name}] from {used}", soft_wrap=True)
            with interrupt_on_signal():
                command(**given)
            sys.stdout.flush()
        except KeyboardInterrupt as interrupt:
            if not isinstance(interrupt, ToldInterrupt):
                stderr.print("interrupted")
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        except BrokenPipeError:  # `| head` closed it
            discard(sys.stdout)
            raise typer.Exit(CLOSED_PIPE_EXIT_CODE) from None
        except Exception as error:
            known = explain(error)
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


def explain(error: Exception) -> GmmeEdgeError | None:
    """As `translate`; what has no room and no name is standard output, for files are named."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
        error.filename = "standard output"
        discard(sys.stdout)
    return translate(error)


def complain(error: GmmeEdgeError, as_json: bool) -> None:
    """Tell an error on stderr."""
    if not as_json:
        errors.print(f"error: {error}", style="red", soft_wrap=True)
        return
    told = {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "got": error.got,
        "expected": error.expected,
        "fix": error.fix,
    }
    sys.stderr.write(json.dumps({"error": told}, indent=2) + "\n")
