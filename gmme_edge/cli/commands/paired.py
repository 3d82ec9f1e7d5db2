"""`gmme-edge paired`: are two models equally often right on the same clips?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import JsonOption

if TYPE_CHECKING:
    from gmme_edge.report.paired import PairedResult

_RESULT = "A result of `evaluate -o`, or the cross-validation.json of `train --folds`"


def paired(
    first: Annotated[Path, typer.Argument(help=f"{_RESULT}: the baseline.")],
    second: Annotated[Path, typer.Argument(help="As FIRST, of the model to compare with it.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Result JSON.", rich_help_panel="Output")
    ] = None,
    json: JsonOption = False,
) -> None:
    """McNemar's exact test on the clips of two results, and their difference fold by fold."""
    from gmme_edge.cli.views.console import emit_json, tell_written
    from gmme_edge.files import write_json
    from gmme_edge.settings import command_line
    from gmme_edge.workflows.comparing import compare_paired

    comparison = compare_paired(first, second)
    command = command_line("paired", [first, second])
    document = {"schema": 1, "kind": "paired", "command": command, **comparison.to_dict()}
    if output:
        write_json(output, document)
        tell_written(output)
    if json:
        emit_json(document)
    else:
        show_comparison(comparison)


def show_comparison(comparison: PairedResult) -> None:
    """The test in words, and a table of the folds where there are any."""
    from rich.table import Table

    from gmme_edge.cli.views.console import stdout

    test = comparison.test
    names = _names(comparison)
    if len(comparison.folds) > 1:
        table = Table("fold", caption="accuracy in %, difference in points")
        for heading in (*names, "difference"):
            table.add_column(heading, justify="right")
        for fold, first, second in comparison.folds:
            table.add_row(
                str(fold), f"{100 * first:.2f}", f"{100 * second:.2f}", _points(second - first)
            )
        stdout.print(table)
    low, high = test.interval
    stdout.print(
        f"Accuracy of {names[1]} minus that of {names[0]}: {_points(test.difference)} points on "
        f"{test.n} {'clip' if test.n == 1 else 'clips'}\n"
        f"(95 % {_points(low)} to {_points(high)}, Bonett and Price)",
        soft_wrap=True,
    )
    if comparison.interval:
        low, high = comparison.interval
        stdout.print(f"over the folds: 95 % {_points(low)} to {_points(high)} (Student's t)")
    stdout.print(
        f"right alone: {names[0]} {_times(test.only_first)}, {names[1]} "
        f"{_times(test.only_second)};\n"
        f"McNemar's exact test, two-sided: p = {test.p_value:.3g}",
        soft_wrap=True,
    )


def _names(comparison: PairedResult) -> tuple[str, str]:
    """The models' names; for two runs of one model the files'."""
    first, second = comparison.first, comparison.second
    if first.model != second.model:
        return first.model, second.model
    return first.source, second.source


def _times(count: int) -> str:
    return f"{count} {'time' if count == 1 else 'times'}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"
