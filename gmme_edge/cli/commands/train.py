"""`gmme-edge train`: a data set to a checkpoint, or to a cross-validation."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options import training as options
from gmme_edge.cli.options.common import (
    CacheOption,
    DataOption,
    DatasetOption,
    FoldOption,
    JsonOption,
    OutputOption,
    SkipBadOption,
    ThreadsOption,
)
from gmme_edge.cli.views.observer import watch
from gmme_edge.cli.views.training import show_training, speak_for_first_process
from gmme_edge.errors import UsageError
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_edge.workflows.training_setup import (
    AudioFormat,
    TrainingSetup,
    choose_device,
    join_processes,
    open_source,
)

if TYPE_CHECKING:
    from gmme_edge.report.paired import Tested
    from gmme_edge.training.cross_validation import FoldResult
    from gmme_edge.training.run.journal import Journal
    from gmme_edge.training.run.loop import Trainer


def train(
    dataset: DatasetOption,
    data: DataOption,
    output: OutputOption,
    model: Annotated[
        str | None,
        typer.Option(help="A preset; see `gmme-edge models`. Default: that of --init."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Whose audio format to use; needed for folder and csv without --init."),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=1, help="In Hz, instead of the task's.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Clip length, instead of the task's.")
    ] = None,
    factors: Annotated[
        str | None, typer.Option(help="Strides of stage 1, such as 4,4,4, instead of the task's.")
    ] = None,
    fold: FoldOption = None,
    folds: options.FoldsOption = None,
    against: options.AgainstOption = None,
    recipe: options.RecipeOption = None,
    epochs: options.EpochsOption = None,
    batch_size: options.BatchSizeOption = None,
    lr: options.LrOption = None,
    label_smoothing: options.LabelSmoothingOption = None,
    ema_decay: options.EmaDecayOption = None,
    ema_unit: options.EmaUnitOption = None,
    augment: options.AugmentOption = None,
    seed: options.SeedOption = None,
    assign: options.SetOption = None,
    init: options.InitOption = None,
    any_rate: options.AnyRateOption = False,
    qat: options.QatOption = False,
    freeze: options.FreezeOption = None,
    layer_decay: options.LayerDecayOption = None,
    teacher: options.TeacherOption = None,
    teacher_weight: options.TeacherWeightOption = None,
    teacher_temperature: options.TeacherTemperatureOption = None,
    device: options.DeviceOption = "auto",
    devices: options.DevicesOption = 1,
    nodes: options.NodesOption = 1,
    precision: options.PrecisionOption = None,
    compile_network: options.CompileOption = None,
    threads: ThreadsOption = None,
    tensorboard: options.TensorboardOption = None,
    restart: Annotated[bool, typer.Option("--restart", help="Ignore an unfinished run.")] = False,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Train a network; the same command continues a run that was stopped."""
    from gmme_edge.errors import require

    torch = require("torch", "train")
    require("safetensors", "write checkpoints")
    chosen_folds = _choose_folds(dataset, fold, folds, against)
    baseline = _load_baseline(against)
    chosen = options.transfer_settings(
        init, freeze, layer_decay, qat, teacher, teacher_weight, teacher_temperature
    ) | {
        "batch_size": batch_size, "max_lr": lr, "label_smoothing": label_smoothing,
        "ema_decay": ema_decay, "ema_unit": ema_unit, "augment": augment, "seed": seed,
        "precision": precision, "compile": compile_network,
    }  # fmt: skip
    epochs, chosen = options.qat_settings(qat, init, epochs, chosen)
    audio = AudioFormat(task, sample_rate, samples, factors)
    source = open_source(init, chosen_folds[0] if chosen_folds else fold) if init else None
    name = recipe or audio.recipe_name(dataset, source)
    effective = options.build_recipe(name, epochs, chosen, assign or [])
    place = choose_device(device)
    if threads:
        torch.set_num_threads(threads)
    fabric = join_processes(place, devices, nodes, effective.precision)
    if fabric:
        speak_for_first_process(fabric.global_rank)
    setup = TrainingSetup(
        dataset, data, model, audio, effective, init, any_rate, teacher, place, fabric,
        ClipSettings(cache=cache, skip_bad=skip_bad),
    )  # fmt: skip
    if chosen_folds:
        _cross_validate(setup, chosen_folds, output, baseline, tensorboard, restart, json)
    else:
        _train_once(setup, fold, output, tensorboard, restart, json)


def _choose_folds(
    dataset: str, fold: int | None, folds: str | None, against: Path | None
) -> tuple[int, ...]:
    from gmme_edge.data.registry import fold_count
    from gmme_edge.training.cross_validation import parse_folds

    if folds is None:
        if against:
            raise UsageError(
                "--against without --folds.", "a cross-validation.",
                "score both checkpoints with `gmme-edge evaluate -o`, then `gmme-edge paired`.",
            )  # fmt: skip
        return ()
    if fold is not None:
        raise UsageError("Both --fold and --folds are given.", "one of them.")
    return parse_folds(folds, fold_count(dataset))


def _load_baseline(against: Path | None) -> Tested | None:
    """Read before hours of training, not after."""
    from gmme_edge.report.paired import load_tested

    return load_tested(against) if against else None


def _train_once(
    setup: TrainingSetup, fold: int | None, output: Path, tensorboard: bool | None, restart: bool,
    json: bool,
) -> None:  # fmt: skip
    """One run, then its last epoch's figures."""
    from gmme_edge.cli.views.console import emit_json, stdout

    with _journal(output, tensorboard) as journal:
        with watch() as observer:
            trainer = setup.make_trainer(output, fold, journal, observer=observer)
        _run(trainer, trainer.spec.name, restart)
    last: dict[str, Any] = trainer.state.history[-1]
    if setup.rank > 0:
        return
    if json:
        emit_json({"checkpoint": str(output), **last})
        return
    stdout.print(
        f"{output}: {trainer.spec.name}, {trainer.recipe.epochs} epochs, "
        f"training loss {last['loss']:.3f}, accuracy {last['accuracy']:.1%}"
        + (f", {trainer.data.description['monitor']} accuracy {last['monitor_accuracy']:.1%}"
           if "monitor_accuracy" in last else ""),
        soft_wrap=True,
    )  # fmt: skip


def _cross_validate(
    setup: TrainingSetup, folds: tuple[int, ...], output: Path, baseline: Tested | None,
    tensorboard: bool | None, restart: bool, json: bool,
) -> None:  # fmt: skip
    """A run per fold in ``fold-K``, each scored on its test clips; then one result.

    Folds that are done are scored again and cost seconds.
    """
    from gmme_edge.cli.views.console import emit_json, stderr
    from gmme_edge.files import write_json
    from gmme_edge.report.paired import compare_pair, parse_tested
    from gmme_edge.training.cross_validation import (
        RESULT,
        cross_validation_document,
        fold_folder,
        score_fold,
    )

    results: list[FoldResult] = []
    for fold in folds:
        folder = output / fold_folder(fold)
        with _journal(folder, tensorboard) as journal:
            with watch() as observer:
                trainer = setup.make_trainer(folder, fold, journal, len(folds) > 1, observer)
            _run(trainer, f"{trainer.spec.name} fold {fold}", restart)
        if setup.rank == 0:
            results.append(score_fold(trainer, fold))
            stderr.print(f"fold {fold}: {results[-1].accuracy:.2%} of its test clips")
    if setup.rank > 0:
        return
    command = shlex.join(["gmme-edge", *sys.argv[1:]])
    document = cross_validation_document(results, trainer.identity, command)
    path = output / RESULT
    comparison = None
    if baseline:
        comparison = compare_pair(baseline, parse_tested(document, str(path)))
        document["paired"] = comparison.to_dict()
    write_json(path, document)
    if json:
        rows = [{k: v for k, v in f.items() if k != "predictions"} for f in document["folds"]]
        emit_json({**document, "folds": rows, "result": str(path)})
        return
    _show_folds(document, path)
    if comparison:
        from gmme_edge.cli.commands.paired import show_comparison

        show_comparison(comparison)


def _journal(folder: Path, tensorboard: bool | None) -> contextlib.closing[Journal]:
    from gmme_edge.training.run.journal import Journal

    return contextlib.closing(Journal(folder, tensorboard))


def _run(trainer: Trainer, title: str, restart: bool) -> None:
    from gmme_edge.cli.views.console import stderr

    try:
        show_training(trainer, title, restart)
    except KeyboardInterrupt:
        stderr.print(f"stopped at step {trainer.state.step}; the same command continues it.")
        raise


def _show_folds(document: dict[str, Any], path: Path) -> None:
    from rich.table import Table

    from gmme_edge.cli.views.console import stdout

    table = Table("fold", caption="intervals: 95 %")
    for heading in ("accuracy", "Wilson's interval", "right", "clips", "minutes"):
        table.add_column(heading, justify="right")
    for row in document["folds"]:
        low, high = row["wilson_95"]
        table.add_row(
            str(row["fold"]), f"{row['accuracy']:.2%}", f"{low:.1%} to {high:.1%}",
            str(row["correct"]), str(row["n"]), f"{(row['wall_time_s'] or 0) / 60:.1f}",
        )  # fmt: skip
    stdout.print(table)
    pooled, mean = document["pooled"], document["folds_mean"]
    low, high = pooled["wilson_95"]
    stdout.print(
        f"{path}: {document['model']} on {document['dataset']}, all clips pooled "
        f"{pooled['accuracy']:.2%} ({low:.1%} to {high:.1%}, Wilson)",
        soft_wrap=True,
    )
    if mean["t_95"]:
        low, high = mean["t_95"]
        stdout.print(
            f"mean of the folds {mean['accuracy']:.2%} ({low:.1%} to {high:.1%}, Student's t)",
            soft_wrap=True,
        )
