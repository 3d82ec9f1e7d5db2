"""`gmme-edge`: one command per verb, listed by what it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from gmme_edge import __version__
from gmme_edge.cli.commands.cache import cache
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
from gmme_edge.cli.commands.rerun import rerun
from gmme_edge.cli.commands.scan import scan
from gmme_edge.cli.commands.sensitivity import sensitivity
from gmme_edge.cli.commands.serve import serve
from gmme_edge.cli.commands.sign import sign
from gmme_edge.cli.commands.similar import similar
from gmme_edge.cli.commands.train import train
from gmme_edge.cli.commands.verify import verify
from gmme_edge.cli.guard import Commands, guarded
from gmme_edge.cli.views.console import prepare_streams

_EPILOG = (
    "Options that you repeat can stand in gmme-edge.toml, in a table for each command, in this "
    "folder or above it; the command line wins. "
    "Exit codes: 0 success, 1 internal error, 2 usage, 3 bad input, 4 missing dependency, "
    "5 parity failure, 6 accuracy gate, 7 unsupported platform, 8 latency gate, "
    "9 partial, 10 regression, 130 interrupted."
)

_Command = Callable[..., None]
# A command without an example here is none: a test compares with the modules of `commands`.
_PANELS: dict[str, dict[_Command, str]] = {
    "Train": {
        train: "train --dataset esc50 --data ESC-50 --fold 1 --model eat-s-gmme-k32c8 -o ckpt",
        evaluate: "evaluate ckpt --dataset esc50 --data ESC-50 --fold 1",
        paired: "paired aa.json gmme.json",
        convert: "convert eat.pt --task esc50 --model eat-s-aa -o ckpt",
    },
    "Export": {
        export: "export ckpt -o bundle --precision fp32,fp16",
        sensitivity: "sensitivity ckpt --dataset folder --data sounds",
        verify: "verify bundle",
        sign: "sign bundle --key my-key",
        engine_info: "engine-info model.engine",
    },
    "Run": {
        predict: "predict esc10 some.wav",
        listen: "listen esc10 --file some.wav",
        scan: "scan recordings -m esc10 -o found",
        similar: "similar found some.wav",
        serve: "serve esc10 --port 8000",
        demo: "demo --threads 2",
        models: "models esc10",
    },
    "Measure": {
        profile: "profile bundle-aa bundle-gmme -o latency.json",
        compare: "compare latency.json accuracy.json",
        rerun: "rerun latency.json -o again.json",
        doctor: "doctor",
        cache: "cache --limit-mb 500",
    },
}

app = typer.Typer(
    cls=Commands,
    help="Small audio classifiers on devices: train, export, quantize, profile, compare.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for panel, commands in _PANELS.items():
    for command, example in commands.items():
        shown = f"Example: gmme-edge {example}"
        app.command(
            help=inspect.getdoc(command) or shown,  # `python -OO` drops docstrings
            epilog=shown,
            rich_help_panel=panel,
        )(guarded(command))


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
    prepare_streams()
    app()


if __name__ == "__main__":
    main()
