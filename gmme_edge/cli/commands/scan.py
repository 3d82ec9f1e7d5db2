"""`gmme-edge scan`: the events in an archive of recordings, as tables."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.errors import AudioError, PartialError, UsageError
from gmme_edge.observer import ToldInterrupt
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings, WorkerSettings

if TYPE_CHECKING:
    from gmme_edge.workflows.scanning import Scan


@with_options
def scan(
    settings: ScanSettings,
    rules: EventSettings,
    workers: WorkerSettings,
    recordings: Annotated[
        list[Path] | None, typer.Argument(help="Recordings, or folders of them and below.")
    ] = None,
    bundle: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            help="A bundle's folder, or a shipped model's name.",
            rich_help_panel="Backend",
        ),
    ] = "esc10",
    status: Annotated[
        bool,
        typer.Option(
            "--status", help="Tell how far the scan in -o is, and end.", rich_help_panel="Scan"
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Hear every recording and write its events; run it again to go on where it was stopped.

    Where some recordings cannot be heard, skipped.csv names them and the exit code is 9; where none
    can, it is 3.
    """
    from gmme_edge.cli.views.console import stderr, tell_written
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.workflows import scanning

    if status:
        _show(scanning.status(settings.output), json)
        return
    if not recordings:
        raise UsageError("There are no recordings to scan.", "files or folders.")
    try:
        with watch() as observer:
            found = scanning.scan(bundle, recordings, settings, rules, workers, observer)
    except KeyboardInterrupt:
        stderr.print("interrupted; the same command goes on where this one stopped")
        raise ToldInterrupt from None
    _show(found, json)
    similar = ["gmme-edge", "similar", str(found.folder), "SOME.wav"]
    tell_written(found.folder, shlex.join(similar) if settings.embeddings else "")
    if failed := found.counts.failed:
        kind = PartialError if failed < found.counts.total else AudioError
        raise kind(
            f"{failed} of {found.counts.total} recordings cannot be heard; "
            f"{found.folder / scanning.SKIPPED} tells why."
        )


def _show(found: Scan, json: bool) -> None:
    from gmme_edge.cli.views.console import emit_json, stdout

    if json:
        emit_json(found.to_dict())
        return
    counts = found.counts
    stdout.print(
        f"{counts.heard} of {counts.total} recordings heard ({counts.duration_s / 3600:.2f} h), "
        f"{counts.failed} skipped, {counts.left} left; {counts.events} events"
    )
    if counts.segments_left:
        total = counts.segments_heard + counts.segments_left
        stdout.print(f"{counts.segments_heard} of {total} segments of long recordings heard")
    for path in found.files.values():
        stdout.print(str(path), soft_wrap=True)
