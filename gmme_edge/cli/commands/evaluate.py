"""`gmme-edge evaluate`: the accuracy of a checkpoint or a bundle on a data set's split."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.evaluating import (
    AccuracyGate,
    EvaluationClips,
    EvaluationSettings,
)


@with_options
def evaluate(
    artifact: Annotated[
        str, typer.Argument(help="A checkpoint, a bundle, or a shipped model's name.")
    ],
    clips: EvaluationClips,
    settings: EvaluationSettings,
    gate: AccuracyGate,
    json: JsonOption = False,
) -> None:
    """Top-1 accuracy with a 95 % interval, by class and level; confusion matrix; label flips.

    Of several precisions each result goes to a file of its own: r.fp32.json for -o r.json.
    """
    from gmme_edge.cli.views.accuracy import show_score
    from gmme_edge.cli.views.console import emit_json, tell_written
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.workflows import evaluating
    from gmme_edge.workflows.gates import check_accuracy

    with watch() as observer:
        evaluation = evaluating.evaluate(artifact, clips, settings, observer)
    if json:
        emit_json(evaluation.to_dict())
    else:
        for result in evaluation.results:
            show_score(result.document, result.score, result.flips)
    if settings.output:
        names = [result.document["precision"] for result in evaluation.results]
        paths = [str(evaluating.result_path(settings.output, name, len(names))) for name in names]
        tell_written(", ".join(paths), shlex.join(["gmme-edge", "compare", *paths]))
    check_accuracy(evaluation.scores, gate.min_accuracy)
