"""`gmme-edge`: one command per verb, listed by what it is for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gmme_edge import __version__
from gmme_edge.cli.group import Commands, Listed
from gmme_edge.cli.streams import prepare_streams

_EPILOG = (
    "Example: gmme-edge predict esc10 some.wav. Each command has one in its --help. "
    "Options that you repeat can stand in gmme-edge.toml, in a table for each command, in this "
    "folder or above it; the command line wins. "
    "Exit codes: 0 success, 1 internal error, 2 usage, 3 bad input, 4 missing dependency, "
    "5 parity failure, 6 accuracy gate, 7 unsupported platform, 8 latency gate, "
    "9 partial, 10 regression, 130 interrupted."
)

# What is not listed here is no command: a test compares with the modules of `commands`, and the
# first lines with those of their help.
_PANELS: dict[str, dict[str, Listed]] = {
    "Train": {
        "train": Listed(
            "Train a network; the same command continues a run that was stopped.",
            "train --dataset esc50 --data ESC-50 --fold 1 --model eat-s-gmme-k32c8 -o ckpt",
        ),
        "evaluate": Listed(
            "Top-1 accuracy with a 95 % interval, by class and level; confusion matrix; "
            "label flips.",
            "evaluate ckpt --dataset esc50 --data ESC-50 --fold 1",
        ),
        "paired": Listed(
            "McNemar's exact test on the clips of two results, and their difference fold by fold.",
            "paired aa.json gmme.json",
        ),
        "convert": Listed(
            "Turn reference-implementation weights into a checkpoint of this project.",
            "convert eat.pt --task esc50 --model eat-s-aa -o ckpt",
        ),
    },
    "Export": {
        "export": Listed(
            "Write every precision, check it against torch on real clips, and describe it all.",
            "export ckpt -o bundle --precision fp32,fp16",
        ),
        "sensitivity": Listed(
            "Quantize every part alone, and all but it: noise of the logits, and accuracy.",
            "sensitivity ckpt --dataset folder --data sounds -o effects",
        ),
        "verify": Listed(
            "Check hashes, a signature if asked, and that each precision computes what it "
            "did there.",
            "verify bundle",
        ),
        "sign": Listed(
            "Sign a bundle, so that `verify --trust PUBLIC_KEY` knows whose it is.",
            "sign bundle --key my-key",
        ),
        "engine-info": Listed(
            "List an engine's layers, their precisions, kernels and shapes, on the GPU that "
            "runs it.",
            "engine-info model.engine",
        ),
    },
    "Run": {
        "predict": Listed(
            "Classify recordings of any rate and length; long ones also by time.",
            "predict esc10 some.wav",
        ),
        "listen": Listed(
            "Listen until Ctrl-C, or to the end of --file, and tell each event as it ends.",
            "listen esc10 --file some.wav",
        ),
        "scan": Listed(
            "Hear every recording and write its events; run it again to go on where it was "
            "stopped.",
            "scan recordings -m esc10 -o found",
        ),
        "similar": Listed(
            "Find the windows of a scanned archive that sound most like a recording.",
            "similar found some.wav",
        ),
        "serve": Listed(
            "Answer HTTP requests and streams until Ctrl-C or SIGTERM.",
            "serve esc10 --port 8000",
        ),
        "demo": Listed(
            "Hear what a shipped model hears; then train, export, quantize, build, verify "
            "and compare.",
            "demo --threads 2",
        ),
        "models": Listed(
            "List the shipped models with their accuracy, and the presets with their parameters.",
            "models esc10",
        ),
    },
    "Measure": {
        "profile": Listed(
            "Time bundles side by side on this machine and keep every raw sample.",
            "profile bundle-aa bundle-gmme -o latency.json",
        ),
        "compare": Listed(
            "Compare measured networks: size, compute, latency and accuracy.",
            "compare latency.json accuracy.json",
        ),
        "rerun": Listed(
            "Repeat the call that made a result or a bundle, with the same options.",
            "rerun latency.json -o again.json",
        ),
        "doctor": Listed(
            "Show what is installed, the machine, and why a backend does not work here.",
            "doctor",
        ),
        "cache": Listed(
            "List the decoded recordings, engines and ranges that are kept, and remove them.",
            "cache --limit-mb 500",
        ),
    },
}

Commands.panels = _PANELS
app = typer.Typer(
    cls=Commands,
    help="Small audio classifiers on devices: train, export, quantize, profile, compare.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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
    try:
        app()
    except OSError as error:  # of --help or --version, which no command guards
        from gmme_edge.cli.guard import complain, explain

        known = explain(error)
        if known is None:
            raise
        complain(known, as_json=False)
        sys.exit(known.exit_code)


if __name__ == "__main__":
    main()
