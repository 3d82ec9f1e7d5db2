"""`gmme-edge predict`: recordings to labels, with a bundle and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import BundleArgument, JsonOption, RebuildOption, make_rebuild
from gmme_edge.cli.options.signature import with_options
from gmme_edge.errors import PartialError
from gmme_edge.observer import ToldInterrupt
from gmme_edge.workflows.settings.predicting import PredictionSettings

if TYPE_CHECKING:
    from gmme_edge.workflows.predicting import Heard


@with_options
def predict(
    bundle: BundleArgument,
    files: Annotated[
        list[Path], typer.Argument(help="Recordings, any libsndfile format, or folders of them.")
    ],
    settings: PredictionSettings,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Classify recordings of any rate and length; long ones also by time.

    Where some of them cannot be heard, the others are answered and the exit code is 9; where none
    can, it is 3.
    """
    from gmme_edge.cli.views.console import stderr
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.workflows import predicting

    with watch() as observer:
        recordings = predicting.list_recordings(files, settings.recursive, observer)
    found: list[Heard] = []
    try:
        with watch() as observer:
            allowed = make_rebuild(rebuild, settings.backend)
            for heard in predicting.predict(bundle, recordings, settings, observer, allowed):
                found.append(heard)
                for note in heard.analysis.notes if heard.analysis else ():
                    observer.note(f"{heard.path}: {note}")
    except KeyboardInterrupt:
        _show(found, settings.top, json)
        told = f"interrupted: {len(found)} of {len(recordings)} recordings were heard"
        stderr.print(told)
        raise ToldInterrupt from None
    failed = [heard.error for heard in found if heard.error]
    if len(failed) == len(found) and failed:
        raise failed[0]
    _show(found, settings.top, json)
    if failed:
        raise PartialError(
            "\n".join(str(error) for error in failed)
            + f"\n{len(failed)} of {len(found)} recordings cannot be heard."
        )


def _show(found: list[Heard], top: int, json: bool) -> None:
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.cli.views.predictions import predictions_table

    if json:
        emit_json([heard.to_dict(top) for heard in found])
    elif found:
        stdout.print(predictions_table(found, top))
