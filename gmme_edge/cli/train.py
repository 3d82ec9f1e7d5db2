"""`gmme-edge train`: a data set to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options import (
    CacheOption,
    DataOption,
    DatasetOption,
    FoldOption,
    JsonOption,
    OutputOption,
    SkipBadOption,
    ThreadsOption,
    load_split,
)
from gmme_edge.errors import UsageError

if TYPE_CHECKING:
    from gmme_edge.data.dataset import Dataset
    from gmme_edge.spec import ModelSpec, Task
    from gmme_edge.training.loop import Progress, Trainer, TrainingData
    from gmme_edge.training.recipe import Recipe

_TASK_OF_DATASET = {"esc50": "esc50", "esc10": "esc50", "urbansound8k": "urbansound8k",
                    "speech-commands": "speech-commands"}  # fmt: skip


def train(
    dataset: DatasetOption,
    data: DataOption,
    output: OutputOption,
    model: Annotated[str, typer.Option(help="A preset; see `gmme-edge models`.")],
    epochs: Annotated[int, typer.Option(min=1)],
    task: Annotated[
        str | None, typer.Option(help="Whose audio format to use; needed for folder and csv.")
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
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    lr: Annotated[float, typer.Option(help="OneCycle's maximum.")] = 3e-4,
    label_smoothing: float = 0.1,
    ema_decay: float = 0.995,
    ema_unit: Annotated[
        str | None,
        typer.Option(help="step or epoch; default: epoch from 300 epochs on, else step."),
    ] = None,
    augment: Annotated[bool, typer.Option("--augment/--no-augment")] = True,
    seed: int = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto.")] = "auto",
    threads: ThreadsOption = None,
    restart: Annotated[bool, typer.Option("--restart", help="Ignore an unfinished run.")] = False,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Train a network; the same command continues a run that was stopped."""
    from gmme_edge.data.registry import open_dataset
    from gmme_edge.errors import require
    from gmme_edge.spec import preset

    torch = require("torch", "train")
    require("safetensors", "write checkpoints")
    from gmme_edge.training.recipe import Recipe, default_ema_unit

    unit = ema_unit or default_ema_unit(epochs)
    if unit not in ("step", "epoch"):
        raise UsageError(f"Unknown EMA unit {unit!r}.", "step or epoch.")
    recipe = Recipe(
        epochs, batch_size, lr, label_smoothing=label_smoothing, ema_decay=ema_decay,
        ema_unit=unit, augment=augment, seed=seed,  # type: ignore[arg-type]
    )  # fmt: skip
    opened = open_dataset(dataset, data, fold)
    audio = _task(dataset, task, sample_rate, samples, factors)
    spec = preset(model, audio, len(opened.labels))
    if threads:
        torch.set_num_threads(threads)
    run_training(
        spec, _training_data(opened, dataset, fold, spec, cache, skip_bad), recipe, output,
        _device(device), restart, json,
    )  # fmt: skip


def _task(
    dataset: str, name: str | None, sample_rate_hz: int | None, n_samples: int | None,
    factors: str | None,
) -> Task:  # fmt: skip
    from dataclasses import replace

    from gmme_edge.spec import get_task

    name = name or _TASK_OF_DATASET.get(dataset)
    if name is None:
        raise UsageError(
            f"A {dataset} data set has no audio format of its own.",
            "--task esc50, urbansound8k or speech-commands (sample rate and clip length), "
            "adjusted with --sample-rate, --samples and --factors.",
        )
    task = get_task(name)
    try:
        strides = tuple(int(part) for part in factors.split(",")) if factors else task.factors
    except ValueError:
        raise UsageError(f"--factors {factors}", "numbers such as 4,4,4.") from None
    return replace(
        task,
        sample_rate_hz=sample_rate_hz or task.sample_rate_hz,
        n_samples=n_samples or task.n_samples,
        factors=strides,
    )


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:
        raise UsageError(f"Unknown device {name!r}.", "cpu, cuda, cuda:1, … or auto.") from None
    if kind == "cuda" and not torch.cuda.is_available():
        from gmme_edge.errors import PlatformError

        raise PlatformError(f"torch sees no CUDA device for {name!r}.", fix="use --device cpu.")
    return name


def _training_data(
    opened: Dataset,
    name: str,
    fold: int | None,
    spec: ModelSpec,
    cache: Path | None,
    skip_bad: bool,
) -> TrainingData:
    from gmme_edge.training.loop import TrainingData

    watched = "validation" if "validation" in opened.counts() else "test"
    train_clips = load_split(opened, "train", spec.sample_rate_hz, cache, skip_bad)
    monitor = None
    if watched in opened.counts():
        monitor = load_split(opened, watched, spec.sample_rate_hz, cache, skip_bad)
    description = {"dataset": name, "fold": fold, "monitor": watched}
    return TrainingData(train_clips, monitor, opened.labels, description)


def run_training(
    spec: ModelSpec, data: TrainingData, recipe: Recipe, output: Path, device: str,
    restart: bool, json: bool,
) -> None:  # fmt: skip
    """Train with a live display, then print the last epoch's figures."""
    from gmme_edge.cli.console import emit_json, stderr, stdout
    from gmme_edge.training.loop import Trainer

    trainer = Trainer(spec, data, recipe, output, device)
    try:
        show_training(trainer, spec.name, restart)
    except KeyboardInterrupt:
        stderr.print(f"stopped at step {trainer.state.step}; the same command continues it.")
        raise
    last: dict[str, Any] = trainer.state.history[-1]
    if json:
        emit_json({"checkpoint": str(output), **last})
        return
    stdout.print(
        f"{output}: {spec.name}, {recipe.epochs} epochs, training loss {last['loss']:.3f}, "
        f"accuracy {last['accuracy']:.1%}"
        + (f", {data.description['monitor']} accuracy {last['monitor_accuracy']:.1%}"
           if "monitor_accuracy" in last else ""),
        soft_wrap=True,
    )  # fmt: skip


def show_training(trainer: Trainer, title: str, restart: bool = False) -> None:
    """Run a trainer under a progress bar: loss, accuracy, learning rate, speed, time left.

    Where stderr is no terminal, one line per epoch is printed instead.
    """
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as ProgressBar

    from gmme_edge.cli.console import stderr

    bar = ProgressBar(
        TextColumn("{task.description}"), BarColumn(12), TextColumn("{task.fields[figures]}"),
        console=stderr, transient=True, disable=not stderr.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=trainer.total_steps, figures="first step …")
        reported = 0

        def on_progress(p: Progress) -> None:
            nonlocal reported
            bar.update(task, completed=p.step, figures=_figures(p, trainer.recipe.epochs))
            if not stderr.is_terminal and len(trainer.state.history) > reported:
                reported = len(trainer.state.history)
                stderr.print(f"{title} {_figures(p, trainer.recipe.epochs)}", soft_wrap=True)

        trainer.run(on_progress, restart)


def _figures(p: Progress, epochs: int) -> str:
    watched = "" if p.monitor_accuracy is None else f" val {p.monitor_accuracy:.1%}"
    minutes, seconds = divmod(int(p.left_s), 60)
    return (
        f"{p.epoch}/{epochs} loss {p.loss:.2f} acc {p.accuracy:.0%}{watched} "
        f"lr {p.learning_rate:.0e} {p.clips_per_s:.0f}/s {minutes}:{seconds:02d}"
    )
