"""`gmme-edge compare`: results side by side, each figure with its ratio to a baseline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Result files of `profile` and `evaluate`.")
    ],
    baseline: Annotated[
        str, typer.Option(help="The model that the others are related to.")
    ] = "eat-s-aa",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write a Markdown report (.md) and its chart (.svg)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare measured models: size, compute, latency and accuracy.

    Latencies are related only within one result file: profile the models to be compared, and the
    baseline, in one call of `gmme-edge profile`.
    """
    from gmme_edge.cli.views.console import emit_json, stderr, stdout
    from gmme_edge.report.compare import compare_results
    from gmme_edge.report.documents import load_result
    from gmme_edge.report.render.markdown import write_report
    from gmme_edge.report.render.terminal import comparison_tables

    comparison = compare_results([load_result(path) for path in results], baseline)
    if output:
        words = ["gmme-edge", "compare", *map(str, results), "--baseline", baseline]
        write_report(comparison, output, shlex.join([*words, "-o", str(output)]))
        stderr.print(f"wrote {output}", markup=False, highlight=False)
    if json:
        emit_json([entry.to_dict() for entry in comparison.entries])
    else:
        stdout.print(comparison_tables(comparison))
