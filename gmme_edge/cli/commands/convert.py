"""`gmme-edge convert`: a state dict of the EAT reference implementation to a checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption, OutputOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.conversion import ConversionSettings


@with_options
def convert(
    state_dict: Annotated[Path, typer.Argument(help=".safetensors, or a torch file of tensors.")],
    settings: ConversionSettings,
    output: OutputOption,
    json: JsonOption = False,
) -> None:
    """Turn reference-implementation weights into a checkpoint of this project."""
    from gmme_edge.cli.views.console import emit_json, stdout, tell_written
    from gmme_edge.workflows import converting

    spec = converting.convert(state_dict, output, settings)
    if json:
        emit_json({"checkpoint": str(output), "model": spec.to_dict()})
    else:
        said = f"{output}: {spec.name} for {settings.task}, {spec.n_classes} classes"
        stdout.print(said, soft_wrap=True)
    tell_written(output, shlex.join(["gmme-edge", "export", str(output), "-o", "bundle"]))
