"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.workflows.settings.running import MOST_THREADS, refuse_rebuild_without_engines

if TYPE_CHECKING:
    from gmme_edge.runtime.engines.cache import Rebuild

BundleArgument = Annotated[
    str,
    typer.Argument(help="A folder that `gmme-edge export` wrote, or a shipped model's name."),
]
OUTPUT, BACKEND = "Output", "Backend"
"""Panels of ``--help`` that most commands have."""

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON on stdout.", rich_help_panel=OUTPUT),
]
OutputOption = Annotated[
    Path, typer.Option("-o", "--output", help="Where to write.", rich_help_panel=OUTPUT)
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_THREADS,
        help="CPU threads; default: all cores of this machine.",
        rich_help_panel=BACKEND,
    ),
]

RebuildOption = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        help="Where no TensorRT engine fits this GPU, or it is damaged, build one; once.",
        rich_help_panel=BACKEND,
    ),
]


def make_rebuild(allowed: bool, *backends: str) -> Rebuild | None:
    """What `--rebuild` stands for; a build says on stderr that it begins.

    Raises:
        UsageError: none of the backends has engines to build.
    """
    if not allowed:
        return None
    refuse_rebuild_without_engines(backends)
    from gmme_edge.cli.views.console import stderr
    from gmme_exporters.tensorrt.rebuild import allow_rebuild

    return allow_rebuild(on_start=lambda what: stderr.print(what, markup=False, soft_wrap=True))
