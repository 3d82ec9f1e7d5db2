"""`gmme-edge cache`: what is kept of decoded recordings and built engines, and its removal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.errors import InputError, UsageError

if TYPE_CHECKING:
    from gmme_edge.data.cache import CacheEntry

_MEGABYTE = 1_000_000
_MOST_MB = 2**63 // _MEGABYTE


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove everything.", rich_help_panel="Cache")
    ] = False,
    limit_mb: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MOST_MB,
            help="Remove what was unused for longest, down to this size.",
            rich_help_panel="Cache",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--cache", help="The folder; default: the user's.", rich_help_panel="Cache"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the decoded recordings, engines and ranges that are kept, and remove them.

    Whatever is removed is made again when it is needed. Decoding keeps the folder below 20 GB, or
    below $GMME_EDGE_CACHE_LIMIT_MB.
    """
    from gmme_edge.cli.views.console import emit_json, stderr
    from gmme_edge.data.cache import list_entries, shrink
    from gmme_edge.folders import default_cache

    if clear and limit_mb is not None:
        raise UsageError("Both --clear and --limit-mb are given.", "one of them.")
    place = folder or default_cache()
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is no folder.", "the folder of a cache.")
    removed = []
    if clear or limit_mb is not None:
        removed = shrink(place, 0 if limit_mb is None else limit_mb * _MEGABYTE)
    entries = list_entries(place)
    if removed:
        freed = sum(entry.size_bytes for entry in removed)
        what = "1 entry" if len(removed) == 1 else f"{len(removed)} entries"
        stderr.print(f"removed {what}, {freed / _MEGABYTE:,.1f} MB")
    if not json:
        _show(place, entries)
        return
    rows = [
        {"path": str(e.path), "kind": e.kind, "size_bytes": e.size_bytes, "used_at_s": e.used_at_s}
        for e in entries
    ]
    emit_json({"folder": str(place), "removed": len(removed), "entries": rows})


def _show(place: Path, entries: list[CacheEntry]) -> None:
    from rich.table import Table

    from gmme_edge.cli.views.console import stdout

    if entries:
        table = Table("kind", "entry", "last used")
        table.add_column("MB", justify="right")
        for entry in entries:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_at_s))
            megabytes = f"{entry.size_bytes / _MEGABYTE:,.1f}"
            table.add_row(entry.kind, entry.path.stem[:12], when, megabytes)
        stdout.print(table)
    total = sum(entry.size_bytes for entry in entries) / _MEGABYTE
    missing = "" if place.exists() else ", for there is no such folder yet"
    stdout.print(f"{place}: {total:,.1f} MB{missing}", soft_wrap=True)
