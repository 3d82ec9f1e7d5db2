"""`gmme-edge engine-info`: what an engine really contains, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.errors import InputError, reason
from gmme_edge.inputs import read_text

if TYPE_CHECKING:
    from rich.table import Table

    from gmme_exporters.tensorrt.inspector import EngineLayers

_ELLIPSIS_AFTER = 48


def engine_info(
    engine: Annotated[Path, typer.Argument(help="A .engine file, with its sidecar beside it.")],
    layers: Annotated[
        Path | None,
        typer.Option(
            help="Read this output of trtexec --exportLayerInfo instead; no GPU needed.",
            rich_help_panel="Engine",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List an engine's layers, their precisions, kernels and shapes, on the GPU that runs it."""
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.runtime.engines.info import EngineInfo
    from gmme_exporters.tensorrt.inspector import inspect_engine

    info = EngineInfo.read(engine)
    found = _parse(layers) if layers else inspect_engine(engine)
    if json:
        emit_json({**found.to_dict(), "engine": info.to_dict()})
        return
    stdout.print(_table(found))
    counts = ", ".join(f"{count} in {name}" for name, count in found.precisions.items())
    stdout.print(f"{info.precision} engine; of the layers that compute: {counts or 'none'}.")
    if info.precision != "fp32" and found.n_fp32:
        stdout.print(f"{found.n_fp32} fell back to FP32.")


def _parse(path: Path) -> EngineLayers:
    from gmme_exporters.tensorrt.inspector import parse_layers

    try:
        return parse_layers(read_text(path))
    except (OSError, ValueError, InputError) as error:
        told = error.got if isinstance(error, InputError) else f"{reason(error)}."
        told = "it is no text." if isinstance(error, UnicodeError) else told
        raise InputError(
            f"{path} cannot be used: {told}", "the JSON that trtexec --exportLayerInfo wrote."
        ) from error


def _table(found: EngineLayers) -> Table:
    from rich.table import Table

    table = Table("#", "layer", "kind", "precision", "inputs", "outputs", "kernel")
    for index, layer in enumerate(found.layers):
        table.add_row(
            str(index),
            _short(layer.name),
            layer.kind,
            layer.precision,
            _shapes(layer.inputs),
            _shapes(layer.outputs),
            _short(layer.tactic),
        )
    return table


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " ".join("x".join(map(str, shape)) for shape in shapes)


def _short(text: str) -> str:
    return text if len(text) <= _ELLIPSIS_AFTER else text[:_ELLIPSIS_AFTER] + "…"
