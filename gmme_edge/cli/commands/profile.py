"""`gmme-edge profile`: latency, throughput and memory of bundles on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options.common import JsonOption, RebuildOption, make_rebuild
from gmme_edge.cli.options.signature import with_options
from gmme_edge.errors import UsageError
from gmme_edge.settings import is_given
from gmme_edge.workflows.settings.profiling import LatencyGate, ProfileSettings
from gmme_edge.workflows.settings.remote import RemoteSettings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gmme_edge.report.documents import LatencyResult, LayersResult, RooflineResult
    from gmme_edge.workflows.remote.fleet import RemoteRun


@with_options
def profile(
    bundles: Annotated[
        list[str],
        typer.Argument(help="Bundles, or shipped models by name; several are interleaved."),
    ],
    settings: ProfileSettings,
    where: RemoteSettings,
    gate: LatencyGate,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the result as JSON.", rich_help_panel="Output"),
    ] = None,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Time bundles side by side on this machine and keep every raw sample.

    Give all networks that are to be compared in one call: their calls take turns, so that a busy
    or warming machine slows all alike. Options that take lists separate them by commas. With -o, a
    call that was cut short leaves its samples, and the same command goes on from them. With
    --remote or --fleet other machines measure, and nothing of it stays there.
    """
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.ownership import claim_result
    from gmme_edge.workflows import profiling
    from gmme_edge.workflows.gates import check_latency

    if where.is_asked_for:
        if settings.layers or settings.roofline or rebuild:
            raise UsageError("--layers, --roofline or --rebuild with --remote.", "one of them.")
        _profile_remote(bundles, settings, where, gate, (output, json))
        return
    claim_result(output)
    if settings.layers or settings.roofline:
        _refuse_with_layers(gate, settings, rebuild)
        _profile_nodes(bundles, settings, rebuild, (output, json))
        return
    if settings.restart and output is None:
        raise UsageError("--restart without -o.", "both, or neither.", "add -o.")
    allowed = make_rebuild(rebuild, *(() if settings.all else settings.backends))
    with watch() as observer:
        result = profiling.profile(bundles, settings, observer, allowed, output)
    _show_latencies(result, output, json)
    check_latency(result.rows, gate.max_latency_p90_ms)


_Shown = tuple[Path | None, bool]  # the file, and whether stdout gets JSON


def _profile_remote(
    bundles: list[str],
    settings: ProfileSettings,
    where: RemoteSettings,
    gate: LatencyGate,
    shown: _Shown,
) -> None:
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.workflows.gates import check_latency
    from gmme_edge.workflows.remote.fleet import check_runs, measured_rows, profile_remote

    with watch() as observer:
        runs = profile_remote(bundles, settings, where, observer)
    _show_remote(runs, *shown)
    check_latency(measured_rows(runs), gate.max_latency_p90_ms)
    check_runs(runs)


def _profile_nodes(
    bundles: list[str], settings: ProfileSettings, rebuild: bool, shown: _Shown
) -> None:
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.workflows import profiling

    if settings.layers:
        allowed = make_rebuild(rebuild, *settings.backends)
        with watch() as observer:
            timed = profiling.profile_layers(bundles, settings, observer, allowed)
        _show_layers(timed, *shown)
        return
    with watch() as observer:
        compared = profiling.profile_roofline(bundles, settings, observer)
    _show_roofline(compared, *shown)


def _refuse_with_layers(gate: LatencyGate, settings: ProfileSettings, rebuild: bool) -> None:
    """A trace slows every node, so that it says nothing about the time of a whole call."""
    of_calls = ("all", "duration", "stream", "restart", "energy", "seed", "gpu_call")
    has_engines = settings.layers and {"tensorrt", "tensorrt-rtx"} & set(settings.backends)
    flags = {
        "--max-latency-p90-ms": gate.max_latency_p90_ms is not None,
        "--rebuild": rebuild and not has_engines,
    }
    flags |= {f"--{name.replace('_', '-')}": is_given(settings, name) for name in of_calls}
    for flag, given in flags.items():
        if given:
            raise UsageError(
                f"{flag} with {'--layers' if settings.layers else '--roofline'}.",
                "one of the two.",
                "profile once with each of them.",
            )


def _show_latencies(result: LatencyResult, output: Path | None, json: bool) -> None:
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.cli.views.profiling import latency_parts

    document = result.to_dict()
    if output:
        _write_latencies(result, document, output)
    if json:
        emit_json(document)
    else:
        stdout.print(latency_parts(result.rows))


def _write_latencies(result: LatencyResult, document: dict[str, Any], output: Path) -> None:
    """The file, and the chart of the power where that was measured."""
    from gmme_edge.cli.views.console import tell_written
    from gmme_edge.files import write_json, write_text
    from gmme_edge.report.render.cells import name_row
    from gmme_edge.report.render.power import draw_power

    write_json(output, document)
    if result.power:
        chart = output.with_suffix(".power.svg")
        write_text(chart, draw_power(result.power, [name_row(row) for row in result.rows]))
        tell_written(chart)
    tell_written(output, shlex.join(["gmme-edge", "compare", str(output)]))


def _show_remote(runs: Sequence[RemoteRun], output: Path | None, json: bool) -> None:
    """One file for one run; otherwise a folder with one each."""
    from gmme_edge.cli.views.console import emit_json, stderr, stdout
    from gmme_edge.cli.views.profiling import remote_parts

    for run in runs:
        if output and run.document and run.result:
            path = output if len(runs) == 1 else output / f"{run.label}.json"
            _write_latencies(run.result, run.document, path)
        if run.error:
            stderr.print(f"{run.label}: {run.error}", soft_wrap=True)
    if json:
        emit_json({"schema": 1, "kind": "fleet", "runs": [run.to_dict() for run in runs]})
    elif measured := [(run.host.label, run.result) for run in runs if run.result]:
        stdout.print(remote_parts(measured))


def _show_roofline(result: RooflineResult, output: Path | None, json: bool) -> None:
    from gmme_edge.report.render.roofline import draw_roofline, roofline_tables

    if output:
        _write_with_chart(result.to_dict(), draw_roofline(result.profiles), output)
    _show_profiles(result, roofline_tables(result.profiles), json)


def _show_layers(result: LayersResult, output: Path | None, json: bool) -> None:
    from gmme_edge.report.render.layers import draw_layer_chart, layer_tables

    if output:
        _write_with_chart(result.to_dict(), draw_layer_chart(result.profiles), output)
    _show_profiles(result, layer_tables(result.profiles), json)


def _write_with_chart(document: dict[str, Any], chart: str, output: Path) -> None:
    from gmme_edge.cli.views.console import tell_written
    from gmme_edge.files import write_json, write_text

    write_json(output, document)
    write_text(output.with_suffix(".svg"), chart)
    tell_written(output.with_suffix(".svg"))
    tell_written(output, shlex.join(["gmme-edge", "compare", "LATENCY.json", str(output)]))


def _show_profiles(
    result: LayersResult | RooflineResult, tables: RenderableType, json: bool
) -> None:
    from gmme_edge.cli.views.console import emit_json, stdout

    if json:
        emit_json(result.to_dict())
    else:
        stdout.print(tables)
