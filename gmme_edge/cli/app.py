"""`gmme-edge`: one command per verb; errors become a message and an exit code here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gmme_edge import __version__
from gmme_edge.cli.commands.compare import compare
from gmme_edge.cli.commands.convert import convert
from gmme_edge.cli.commands.demo import demo
from gmme_edge.cli.commands.doctor import doctor
from gmme_edge.cli.commands.engine_info import engine_info
from gmme_edge.cli.commands.evaluate import evaluate
from gmme_edge.cli.commands.export import export
from gmme_edge.cli.commands.listen import listen
from gmme_edge.cli.commands.models import models
from gmme_edge.cli.commands.paired import paired
from gmme_edge.cli.commands.predict import predict
from gmme_edge.cli.commands.profile import profile
from gmme_edge.cli.commands.sensitivity import sensitivity
from gmme_edge.cli.commands.train import train
from gmme_edge.cli.commands.verify import verify
from gmme_edge.errors import INTERRUPTED_EXIT_CODE, GmmeEdgeError, InputError

_EPILOG = (
    "Exit codes: 0 success, 1 internal error, 2 usage, 3 bad input, 4 missing dependency, "
    "5 parity failure, 6 accuracy gate, 7 unsupported platform, 8 latency gate, "
    "9 partial, 10 regression, 130 interrupted."
)


def _complain(message: str) -> None:
    from gmme_edge.cli.views.console import stderr

    text = f"error: {message}"
    stderr.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the project's errors and Ctrl-C turned into exit codes."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the command takes
        try:
            command(*args, **kwargs)
        except GmmeEdgeError as error:
            _complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
        except BrokenPipeError:  # `| head` closed the pipe; typer knows how to end quietly
            raise
        except OSError as error:
            _complain(f"{error}\nFix: check the path, its permissions and the room on its disk.")
            raise typer.Exit(InputError.exit_code) from None

    return run


app = typer.Typer(
    help="Small audio classifiers on devices: train, export, quantize, profile, compare.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    demo, train, evaluate, paired, convert, export, sensitivity, verify, predict, listen, profile,
    compare, models, doctor, engine_info,
):  # fmt: skip
    app.command()(_guarded(command))


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"gmme-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the `gmme-edge` script."""
    app()


if __name__ == "__main__":
    main()
