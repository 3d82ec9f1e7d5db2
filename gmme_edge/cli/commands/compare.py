"""`gmme-edge compare`: results side by side, each figure with its ratio to a base."""

from __future__ import annotations

import contextlib
import io
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.commands.rerun import repeat
from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.errors import UsageError
from gmme_edge.settings import command_line
from gmme_edge.workflows.settings.comparing import CompareSettings, RegressionGate

if TYPE_CHECKING:
    from gmme_edge.report.compare import Comparison
    from gmme_edge.report.documents import LatencyResult, LoadedResult


@with_options
def compare(
    context: typer.Context,
    settings: CompareSettings,
    gate: RegressionGate,
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Result files of `profile`, `evaluate` and `train --folds`."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Report: .html, .md, .json, .csv or .tex.",
            rich_help_panel="Output",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare measured networks: size, compute, latency and accuracy.

    Latencies are related only within one result file: profile the networks to be compared, and
    the baseline, in one call of `gmme-edge profile` per device.
    """
    from gmme_edge.cli.views.console import emit_json, stdout, tell_written
    from gmme_edge.report.render.files import check_ending, write_report
    from gmme_edge.report.render.terminal import comparison_tables
    from gmme_edge.workflows import comparing

    if settings.paper:
        _show_paper(results or [], gate, output, json)
        return
    if not results:
        raise UsageError("There is nothing to compare.", "result files, or --paper.")
    if output:
        check_ending(output)
    comparison = comparing.compare(results, settings)
    if output:
        command = command_line("compare", [*results, "-o", output], settings)
        write_report(comparison, output, command)
        tell_written(output)
    if json:
        emit_json(comparison.to_dict())
    else:
        stdout.print(comparison_tables(comparison))
    if gate.rules:
        _check_regressions(comparison, gate, context.find_root().command)


def _show_paper(results: list[Path], gate: RegressionGate, output: Path | None, json: bool) -> None:
    from gmme_edge.cli.views.console import emit_json, stdout, tell_written
    from gmme_edge.files import write_json, write_text
    from gmme_edge.report.render.paper import paper_tables, render_paper
    from gmme_edge.workflows.comparing import compare_paper

    if gate.rules:
        raise UsageError("--fail-if with --paper.", "one of them.")
    if output and output.suffix not in (".md", ".json"):
        raise UsageError(f"-o is {output} with --paper.", "a file name that ends in .md or .json.")
    comparison = compare_paper(results)
    if output and output.suffix == ".md":
        command = command_line("compare", ["--paper", *results, "-o", output])
        write_text(output, render_paper(comparison, command))
    elif output:
        write_json(output, comparison.to_dict())
    if output:
        tell_written(output)
    if json:
        emit_json(comparison.to_dict())
    else:
        stdout.print(paper_tables(comparison))


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
