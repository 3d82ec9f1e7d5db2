"""`gmme-edge predict`: recordings to labels, with a bundle and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.options.common import (
    BundleArgument,
    JsonOption,
    RebuildOption,
    ThreadsOption,
    make_rebuild,
)


def predict(
    bundle: BundleArgument,
    files: Annotated[list[Path], typer.Argument(help="Recordings, any libsndfile format.")],
    backend: Annotated[str, typer.Option(help="ort-cpu, ort-cuda, tensorrt, tensorrt-rtx.")] = (
        "ort-cpu"
    ),
    precision: Annotated[
        str | None, typer.Option(help="Default: the recommended one, else fp32.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show per recording.")] = 3,
    threads: ThreadsOption = None,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Classify recordings of any rate and length."""
    from rich.table import Table

    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.runtime.classifier import load

    with load(bundle, backend, precision, threads, make_rebuild(rebuild)) as classifier:
        found = [(path, classifier.classify_file(path, top)) for path in files]
    if json:
        emit_json(
            [
                {
                    "file": str(path),
                    "predictions": [{"label": p.label, "probability": p.probability} for p in best],
                }
                for path, best in found
            ]
        )
        return
    table = Table("file", "label", "probability")
    for path, best in found:
        for row, prediction in enumerate(best):
            table.add_row(
                path.name if row == 0 else "", prediction.label, f"{prediction.probability:.1%}"
            )
    stdout.print(table)
