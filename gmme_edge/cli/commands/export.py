"""`gmme-edge export`: a checkpoint to a bundle of ONNX files, INT8 included, and engines."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.export import ExportSettings


@with_options
def export(
    source: Annotated[
        str,
        typer.Argument(help="A checkpoint or a shipped model's name; with --untrained, a preset."),
    ],
    settings: ExportSettings,
    json: JsonOption = False,
) -> None:
    """Write every precision, check it against torch on real clips, and describe it all."""
    from gmme_edge.cli.views.console import emit_json, stdout, tell_written
    from gmme_edge.cli.views.export import describe_bundle, describe_next, refuse_partial
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.workflows import exporting

    with watch() as observer:
        exported = exporting.export(source, settings, observer)
    if json:
        emit_json(exported.bundle.manifest.to_dict())
    else:
        describe_bundle(exported.bundle, stdout)
        describe_next(exported, stdout)
    path = exported.bundle.path
    tell_written(path, shlex.join(["gmme-edge", "profile", str(path)]))
    refuse_partial(exported)
