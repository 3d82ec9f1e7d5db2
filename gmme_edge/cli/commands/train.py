"""`gmme-edge train`: a data set to a checkpoint, or to a cross-validation."""

from __future__ import annotations

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.training import (
    LearningData,
    MachineSettings,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
    TransferSettings,
)


@with_options
def train(
    data: LearningData,
    run: RunSettings,
    network: NetworkSettings,
    recipe: RecipeSettings,
    transfer: TransferSettings,
    machine: MachineSettings,
    json: JsonOption = False,
) -> None:
    """Train a network; the same command continues a run that was stopped."""
    from gmme_edge.cli.commands.paired import show_comparison
    from gmme_edge.cli.views.console import emit_json
    from gmme_edge.cli.views.training import show_cross_validation, show_trained, watch_training
    from gmme_edge.workflows.training import TrainingJob, cross_validate
    from gmme_edge.workflows.training import train as train_once

    job = TrainingJob(
        data=data, run=run, network=network, recipe=recipe, transfer=transfer, machine=machine
    )
    if data.folds is None:
        with watch_training() as view:
            trained = train_once(job, view)
        if trained and json:
            emit_json({"checkpoint": str(trained.checkpoint), **trained.figures})
        elif trained:
            show_trained(trained)
        return
    with watch_training() as view:
        result = cross_validate(job, view)
    if result and json:
        folds = [
            {k: v for k, v in f.items() if k != "predictions"} for f in result.document["folds"]
        ]
        emit_json({**result.document, "folds": folds, "result": str(result.path)})
    elif result:
        show_cross_validation(result)
        if result.comparison:
            show_comparison(result.comparison)
