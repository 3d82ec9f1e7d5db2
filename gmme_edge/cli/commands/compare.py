"""`gmme-edge compare`: results side by side, each figure with its ratio to a base."""

from __future__ import annotations

import contextlib
import io
import shlex
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.commands.rerun import repeat
from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.comparing import CompareSettings, RegressionGate

if TYPE_CHECKING:
    from gmme_edge.report.compare import Comparison
    from gmme_edge.report.documents import LatencyResult, LoadedResult


@with_options
def compare(
    context: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(help="Result files of `profile`, `evaluate` and `train --folds`."),
    ],
    settings: CompareSettings,
    gate: RegressionGate,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Report: .html, .md, .json, .csv or .tex."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare measured networks: size, compute, latency and accuracy.

    Latencies are related only within one result file: profile the networks to be compared, and
    the baseline, in one call of `gmme-edge profile` per device.
    """
    from gmme_edge.cli.views.console import emit_json, stderr, stdout
    from gmme_edge.report.render.files import check_ending, write_report
    from gmme_edge.report.render.terminal import comparison_tables
    from gmme_edge.workflows import comparing

    if output:
        check_ending(output)
    comparison = comparing.compare(results, settings)
    if output:
        words = ["gmme-edge", "compare", *map(str, results)]
        words += ["--baseline", settings.baseline] if settings.baseline else []
        write_report(comparison, output, shlex.join([*words, "-o", str(output)]))
        stderr.print(f"wrote {output}", markup=False, highlight=False)
    if json:
        emit_json(comparison.to_dict())
    else:
        stdout.print(comparison_tables(comparison))
    if gate.rules:
        _check_regressions(comparison, gate, context.find_root().command)


def _check_regressions(comparison: Comparison, gate: RegressionGate, program: object) -> None:
    """Say what is undecided, write the JUnit file, and fail where a rule is broken."""
    from gmme_edge.cli.views.console import stderr
    from gmme_edge.files import write_text
    from gmme_edge.report.gate import check_rules, refuse_regressions, render_junit
    from gmme_edge.workflows.confirming import confirm

    checks = check_rules(comparison, gate.rules)
    if gate.confirm:
        checks = confirm(comparison, gate.rules, checks, partial(_measure_again, program))
    if gate.junit:
        write_text(gate.junit, render_junit(checks))
    for check in checks:
        if check.state == "undecided":
            text = f"undecided: {check.row}: {check.detail}; measure again, with more repetitions"
            stderr.print(text, markup=False, highlight=False, soft_wrap=True)
    refuse_regressions(checks)


def _measure_again(program: object, result: LatencyResult) -> LoadedResult:
    """What the recorded call gives now; its own output is not shown."""
    from gmme_edge.cli.views.console import stderr
    from gmme_edge.errors import InputError
    from gmme_edge.report.documents import load_result

    stderr.print(f"measuring {result.source} again", soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        again = Path(folder) / "again.json"
        code = repeat(program, ["rerun", result.source, "-o", str(again), "--quiet"])
        if code:
            raise InputError(
                f"{result.source} could not be measured again (exit code {code}).",
                "a result whose bundles are here.",
                "see above, or compare without --confirm.",
            )
        return load_result(again)
