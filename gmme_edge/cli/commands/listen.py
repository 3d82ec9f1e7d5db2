"""`gmme-edge listen`: events in what a microphone hears, or in a recording."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption, RebuildOption, make_rebuild
from gmme_edge.cli.options.signature import with_options
from gmme_edge.interrupt import stop_on_signal
from gmme_edge.runtime.backends import BACKEND_NAMES
from gmme_edge.workflows.settings.listening import EventSettings, ListenSettings


@with_options
def listen(
    settings: ListenSettings,
    rules: EventSettings,
    bundle: Annotated[
        str, typer.Argument(help="A bundle's folder, or a shipped model's name.")
    ] = "esc10",
    backend: Annotated[
        str,
        typer.Option(
            help=f"One of {BACKEND_NAMES}; or auto, the fastest here.", rich_help_panel="Backend"
        ),
    ] = "ort-cpu",
    precision: Annotated[
        str | None,
        typer.Option(help="Default: the recommended one, else fp32.", rich_help_panel="Backend"),
    ] = None,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Listen until Ctrl-C, or to the end of --file, and tell each event as it ends."""
    if settings.list_devices:
        _show_devices(json)
        return
    from gmme_edge.cli.views.console import stderr
    from gmme_edge.cli.views.listening import watch_stream
    from gmme_edge.cli.views.observer import warnings_as_notes
    from gmme_edge.workflows import listening

    allowed = make_rebuild(rebuild, backend)
    note = functools.partial(stderr.print, soft_wrap=True)
    with warnings_as_notes(note):
        opened = listening.open_listener(bundle, settings, backend, precision, allowed)
    with opened as classifier, stop_on_signal() as asked:
        if classifier.backend_reason:
            stderr.print(f"note: {classifier.backend_reason}", soft_wrap=True)
        with watch_stream(json) as view, warnings_as_notes(note):
            network = listening.identify(bundle, classifier.precision) | {
                "backend": classifier.backend,
                "backend_reason": classifier.backend_reason,
            }
            stream = listening.listen(
                classifier, rules, settings, view.show, lambda: asked.requested, network
            )
        view.sum_up(stream, getattr(classifier, "in_part", None))
    if asked.requested and settings.file is not None:
        raise KeyboardInterrupt


def _show_devices(json: bool) -> None:
    from rich.table import Table

    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.workflows.microphone import list_devices

    devices = list_devices()
    if json:
        emit_json(devices)
        return
    table = Table("device", "name", "channels", "rate")
    for one in devices:
        table.add_row(*(str(one[key]) for key in ("device", "name", "channels", "rate_hz")))
    stdout.print(table if devices else "No microphone was found.")
