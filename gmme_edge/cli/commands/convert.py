"""`gmme-edge convert`: a state dict of the EAT reference implementation to a checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption, OutputOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.errors import UsageError, require
from gmme_edge.inputs import read_text
from gmme_edge.workflows.settings.conversion import ConversionSettings


@with_options
def convert(
    state_dict: Annotated[Path, typer.Argument(help=".safetensors, or a torch file of tensors.")],
    settings: ConversionSettings,
    output: OutputOption,
    json: JsonOption = False,
) -> None:
    """Turn reference-implementation weights into a checkpoint of this project."""
    require("torch", "convert weights")
    require("safetensors", "convert weights")
    from gmme_edge.cli.views.console import emit_json, stdout, tell_written
    from gmme_edge.models.checkpoint import save_checkpoint
    from gmme_edge.models.reference import load_reference_state, read_state_dict
    from gmme_edge.ownership import claim_checkpoint
    from gmme_edge.spec import preset

    folder = claim_checkpoint(output, settings.force)
    names = _read_labels(settings.labels) if settings.labels else None
    spec = preset(
        settings.model, settings.task, settings.classes or (len(names) if names else None)
    )
    if names is None:
        names = tuple(f"class {index}" for index in range(spec.n_classes))
    elif len(names) != spec.n_classes:
        raise UsageError(f"{settings.labels} has {len(names)} names for {spec.n_classes} classes.")
    network = load_reference_state(spec, read_state_dict(state_dict))
    save_checkpoint(folder, spec, network.state_dict(), names, {"converted_from": state_dict.name})
    if json:
        emit_json({"checkpoint": str(output), "model": spec.to_dict()})
    else:
        said = f"{output}: {spec.name} for {settings.task}, {spec.n_classes} classes"
        stdout.print(said, soft_wrap=True)
    tell_written(output, shlex.join(["gmme-edge", "export", str(output), "-o", "bundle"]))


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "a text file of class names.") from None
    return tuple(line.strip() for line in lines if line.strip())
