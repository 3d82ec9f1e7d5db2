"""`gmme-edge similar`: what in a scanned archive sounds like a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.searching import SearchSettings


@with_options
def similar(
    folder: Annotated[Path, typer.Argument(help="The -o folder of `scan --embeddings`.")],
    query: Annotated[Path, typer.Argument(help="A recording of what is looked for.")],
    settings: SearchSettings,
    json: JsonOption = False,
) -> None:
    """Find the windows of a scanned archive that sound most like a recording.

    What is looked for need not be of a class that the model knows.
    """
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.cli.views.tables import matches_table
    from gmme_edge.workflows.searching import find_similar

    with watch() as observer:
        found = find_similar(folder, query, settings, observer)
    if json:
        emit_json([match.to_dict() for match in found])
    else:
        stdout.print(matches_table(found))
