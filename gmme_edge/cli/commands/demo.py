"""`gmme-edge demo`: a shipped model listens, then the whole chain runs; no data set, no GPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption, ThreadsOption
from gmme_edge.errors import require

_Epochs = Annotated[
    int,
    typer.Option(
        min=1,
        max=10_000,
        help="5 take about a minute a network on 2 cores.",
        rich_help_panel="Training",
    ),
]


def demo(
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for checkpoints, bundles, results.",
            rich_help_panel="Output",
        ),
    ] = Path("gmme-edge-demo"),
    epochs: _Epochs = 5,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Hear what a shipped model hears; then train, export, quantize, build, verify and compare.

    The first part takes a few seconds and needs no torch. In the second, ten classes of synthetic
    sounds (sweeps, bells, sirens, clicks, …) stand in for a data set, on which a GMME and an AA
    network are trained. Running it again continues where it was stopped.
    """
    require("onnxruntime", "run the demo")
    _listen(threads)
    from gmme_edge.cli.views.console import emit_json, stderr, stdout
    from gmme_edge.cli.views.export import describe_bundle
    from gmme_edge.cli.views.observer import watch

    with watch() as observer:
        observer.stage("load PyTorch")
        torch = require("torch", "train")
        for module in ("safetensors", "onnx", "onnxscript"):
            require(module, "run the demo")
    from gmme_edge.cli.views.training import watch_training
    from gmme_edge.report.render.terminal import comparison_tables
    from gmme_edge.workflows import demonstrating

    if threads:
        torch.set_num_threads(threads)
    start = time.monotonic()
    stderr.print("10 classes of synthetic sounds, 320 to train on")
    bundles = []
    for name in demonstrating.NETWORKS:
        with watch_training() as view:
            trainer = demonstrating.train_network(name, output, epochs, view)
        accuracy = trainer.state.history[-1]["accuracy"]
        stderr.print(f"{name}: {trainer.state.step} steps, training accuracy {accuracy:.1%}")
        with watch() as observer:
            bundles.append(demonstrating.make_bundle(trainer, output, observer))
        describe_bundle(bundles[-1], stderr)
        stderr.print("verified: every file's hash, and the outputs on the golden vectors")
    with watch() as observer:
        comparison = demonstrating.compare_networks(bundles, output, threads, observer)
    if json:
        emit_json(comparison.to_dict())
    else:
        stdout.print(comparison_tables(comparison))
    _suggest(output, bundles[-1].path, time.monotonic() - start)


def _suggest(output: Path, bundle: Path, took_s: float) -> None:
    from gmme_edge.cli.views.console import stderr

    stderr.print("A minute of training shows the chain, not what the networks can do.")
    stderr.print(f"Done in {took_s:.0f} s; everything is in {output}. Try:")
    stderr.print(f"  gmme-edge verify {bundle}", soft_wrap=True)
    stderr.print(f"  gmme-edge predict {bundle} SOME.wav", soft_wrap=True)


def _listen(threads: int | None) -> None:
    from rich.table import Table

    from gmme_edge.cli.views.console import stderr
    from gmme_edge.workflows.demonstrating import LISTENER, hear_imitations

    table = Table("imitation of", f"{LISTENER} hears", "probability", "in")
    for heard in hear_imitations(threads):
        took = f"{heard.took_s * 1e3:.0f} ms"
        table.add_row(heard.name, heard.label, f"{heard.probability:.0%}", took)
    stderr.print(table)
    stderr.print("Imitations of 5 s, computed here; the network was trained on recordings.")
    stderr.print(f"Yours: gmme-edge predict {LISTENER} SOME.wav\n", soft_wrap=True)
