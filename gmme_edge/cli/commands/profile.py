"""`gmme-edge profile`: latency, throughput and memory of bundles on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import JsonOption, RebuildOption, make_rebuild, task_updater
from gmme_edge.cli.options.gates import MaxLatencyOption, check_latency
from gmme_edge.errors import UsageError

if TYPE_CHECKING:
    from gmme_edge.profiling.latency import LatencySettings, Target


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
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Time per block and node instead (ort-cpu); -o adds a chart (.svg)."
        ),
    ] = False,
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
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.cli.views.console import emit_json, progress, stderr, stdout
    from gmme_edge.files import write_json
    from gmme_edge.profiling.latency import LatencySettings, measure
    from gmme_edge.profiling.targets import list_targets
    from gmme_edge.report.documents import latency_document
    from gmme_edge.report.render.terminal import latency_tables

    settings = LatencySettings(warmup, repetitions, seed)
    targets = list_targets(
        [Bundle.open(path) for path in bundles],
        _split(backend),
        _split(precision),
        [None if word == "auto" else _integer("--threads", word) for word in _split(threads)],
        [_integer("--batch", word) for word in _split(batch)],
        rebuild,
    )
    if layers:
        _profile_layers(targets, settings, output, json)
        return
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


def _profile_layers(
    targets: list[Target], settings: LatencySettings, output: Path | None, json: bool
) -> None:
    from gmme_edge.cli.views.console import emit_json, progress, stderr, stdout
    from gmme_edge.device.facts import describe_device
    from gmme_edge.files import write_json, write_text
    from gmme_edge.profiling.layers import profile_layers
    from gmme_edge.report.render.layers import draw_layer_chart, layer_tables

    if other := sorted({target.backend for target in targets} - {"ort-cpu"}):
        raise UsageError(
            f"--layers on {', '.join(other)}.", "ort-cpu.", "see engine-info for engines."
        )
    profiles = []
    with progress() as bar:
        for target in bar.track(targets, description="profiling"):
            profiles.append(profile_layers(
                target.bundle, target.precision, target.threads, target.batch,
                settings.warmup, settings.repetitions,
            ))  # fmt: skip
    document = {
        "schema": 1, "kind": "layers", "device": describe_device(),
        "profiles": [profile.to_dict() for profile in profiles],
    }  # fmt: skip
    if output:
        write_json(output, document)
        write_text(output.with_suffix(".svg"), draw_layer_chart(profiles))
        stderr.print(f"wrote {output} and its chart (.svg)", markup=False, highlight=False)
    if json:
        emit_json(document)
    else:
        stdout.print(layer_tables(profiles))


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
