"""`gmme-edge sensitivity`: what each block or layer loses when it is quantized."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.sensitivity import SensitivityClips, SensitivitySettings


@with_options
def sensitivity(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint or a shipped model's name.")],
    clips: SensitivityClips,
    settings: SensitivitySettings,
    json: JsonOption = False,
) -> None:
    """Quantize every part alone, and all but it: noise of the logits, and accuracy."""
    from gmme_edge.cli.views.console import emit_json, stdout, tell_written
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.cli.views.sensitivity import sensitivity_table
    from gmme_edge.workflows.sensitivity import measure_sensitivity

    with watch() as observer:
        result = measure_sensitivity(checkpoint, clips, settings, observer)
    if json:
        emit_json(result.document)
    else:
        stdout.print(sensitivity_table(result.document))
        stdout.print(
            f"{result.folder}: sensitivity.json, sensitivity.svg", soft_wrap=True, markup=False
        )
    clips_of = ["--calib-dataset", clips.dataset, "--calib-data", str(clips.data)]
    call = ["gmme-edge", "export", checkpoint, "-o", "bundle", "--precision", "fp32,int8"]
    tell_written(result.folder, shlex.join([*call, *clips_of]))
