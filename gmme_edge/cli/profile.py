"""`gmme-edge profile`: latency, throughput and memory of bundles on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.gates import MaxLatencyOption, check_latency
from gmme_edge.cli.options import JsonOption, RebuildOption, make_rebuild, task_updater
from gmme_edge.errors import UsageError


def profile(
    bundles: Annotated[
        list[str],
        typer.Argument(help="Bundles, or shipped models by name; several are interleaved."),
    ],
    backend: Annotated[
        str, typer.Option(help="One or more of ort-cpu, ort-cuda, tensorrt, tensorrt-rtx.")
    ] = "ort-cpu",
    precision: Annotated[
        str, typer.Option(help="For example fp32,int8; default: all that the backend runs.")
    ] = "",
    threads: Annotated[
        str, typer.Option(help="CPU threads, for example 1,2 or auto (the engine chooses).")
    ] = "1",
    batch: Annotated[str, typer.Option(help="Clips per call, for example 1,8.")] = "1",
    warmup: Annotated[int, typer.Option(min=0, help="Untimed calls first, per target.")] = 10,
    repetitions: Annotated[int, typer.Option(min=1, help="Timed calls per target.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the calls.")] = 0,
    max_latency_p90_ms: MaxLatencyOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the result as JSON.")
    ] = None,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Time bundles side by side on this machine and keep every raw sample.

    Give all models that are to be compared in one call: their calls take turns, so that a busy
    or warming machine slows all alike. Options that take lists separate them by commas.
    """
    from gmme_edge.cli.console import emit_json, progress, stderr, stdout
    from gmme_edge.files import write_json
    from gmme_edge.profiling.latency import LatencySettings, measure
    from gmme_edge.profiling.targets import list_targets
    from gmme_edge.report.results import latency_document
    from gmme_edge.report.tables import latency_tables
    from gmme_edge.runtime.bundle import Bundle

    settings = LatencySettings(warmup, repetitions, seed)
    targets = list_targets(
        [Bundle.open(path) for path in bundles],
        _split(backend),
        _split(precision),
        [None if word == "auto" else _integer("--threads", word) for word in _split(threads)],
        [_integer("--batch", word) for word in _split(batch)],
        rebuild,
    )
    with progress() as bar:
        update = task_updater(bar.add_task, bar.update, "profiling")
        rows = measure(targets, settings, update, make_rebuild(rebuild))
    command = _command(
        bundles,
        backend=backend, threads=threads, batch=batch, warmup=warmup, repetitions=repetitions,
        seed=seed, precision=precision,
    )  # fmt: skip
    document = latency_document(rows, settings, command)
    if output:
        write_json(output, document)
        stderr.print(f"wrote {output}", markup=False, highlight=False)
    if json:
        emit_json(document)
    else:
        stdout.print(latency_tables(rows))
    check_latency(rows, max_latency_p90_ms)


def _command(bundles: list[str], **options: str | int) -> str:
    """The call that repeats this measurement, for the result file."""
    words = ["gmme-edge", "profile", *bundles]
    for name, value in options.items():
        words += [f"--{name}", str(value)] if value != "" else []
    return shlex.join(words)


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _integer(option: str, word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise UsageError(f"{option} has {word!r}.", "whole numbers of at least 1, with commas.")
    return int(word)
