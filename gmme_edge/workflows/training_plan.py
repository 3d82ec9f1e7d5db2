"""What a training will be, before torch is loaded: so that wrong options are told at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.data.registry import fold_count, open_dataset, task_of
from gmme_edge.errors import UsageError
from gmme_edge.models.description import Description, read_description
from gmme_edge.observer import SILENT, Observer
from gmme_edge.pretrained import resolve
from gmme_edge.settings import command_line, fit_fields
from gmme_edge.spec import TASKS, ModelSpec, Task, get_task, preset
from gmme_edge.training.folds import fold_folder, parse_folds
from gmme_edge.training.recipe import (
    QAT_CHANGES,
    QAT_EPOCHS,
    Recipe,
    named_recipe,
    override,
)
from gmme_edge.workflows.settings.training import (
    LearningData,
    MachineSettings,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
    TransferSettings,
)

if TYPE_CHECKING:
    from gmme_edge.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that `train` and `cross_validate` are told."""

    data: LearningData
    run: RunSettings
    network: NetworkSettings = field(default_factory=NetworkSettings)
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)

    def __post_init__(self) -> None:
        fit_fields(self)

    @property
    def command(self) -> str:
        """The call that runs it."""
        groups = (self.data, self.run, self.network, self.recipe, self.transfer, self.machine)
        return command_line("train", [], *groups)

    @property
    def folds(self) -> tuple[int, ...]:
        """Of a cross-validation; none for a single run."""
        if self.data.folds is None:
            return ()
        return parse_folds(self.data.folds, fold_count(self.data.dataset))

    def output(self, fold: int | None) -> Path:
        """Where the run that tests on `fold` writes."""
        inner = fold_folder(fold) if fold and self.data.folds is not None else ""
        return self.run.output / inner


@dataclass(frozen=True)
class Plan:
    """A run's network and recipe, and its data set's lists."""

    spec: ModelSpec
    recipe: Recipe
    dataset: Dataset


def make_plan(job: TrainingJob, fold: int | None, observer: Observer = SILENT) -> Plan:
    """What the run that tests on `fold` will be; the observer hears what the data leave out.

    Raises:
        UsageError: settings that contradict each other, or a network that cannot be.
        InputError: a data set or checkpoint that is not there or not intact.
    """
    if job.transfer.init:
        _refuse_own_start(source_path(job.transfer.init, fold), job.output(fold))
    source = describe_source(job.transfer.init, fold)
    describe_source(job.transfer.teacher, fold)
    audio = resolve_audio(job, source)
    recipe = build_recipe(_recipe_name(job, audio), job.recipe, job.transfer)
    opened = open_dataset(job.data.dataset, job.data.data, fold, observer)
    spec = _resolve_spec(job.network, audio, source, len(opened.labels))
    return Plan(spec, recipe, opened)


def source_path(name: str, fold: int | None) -> Path:
    """A checkpoint's folder by name or path, in which ``{fold}`` stands for the fold's number."""
    if fold is None and "{fold}" in name:
        raise UsageError(f"{name} without a fold.", "--fold or --folds, whose number it takes.")
    return resolve(name.replace("{fold}", str(fold)))


def _refuse_own_start(source: Path, output: Path) -> None:
    if source.exists() and output.exists() and source.samefile(output):
        raise UsageError(
            f"--init and -o are both {output}.",
            "a new folder for what is trained.",
            "name another folder with -o: what it starts from stays as it is.",
        )


def describe_source(name: str | None, fold: int | None) -> Description | None:
    return None if name is None else read_description(source_path(name, fold))


def resolve_audio(job: TrainingJob, source: Description | None) -> Task:
    """The named task's format, else the data set's own, else that of the initial weights.

    Raises:
        UsageError: none of the three, or an unknown task.
    """
    given = job.network
    name = given.task or task_of(job.data.dataset)
    if name:
        task = get_task(name)
    elif source:
        spec = source.spec
        task = Task("", spec.sample_rate_hz, spec.n_samples, spec.factors, spec.n_classes)
    else:
        raise UsageError(
            f"A {job.data.dataset} data set has no audio format of its own.",
            "--task esc50, urbansound8k or speech-commands (sample rate and clip length), "
            "adjusted with --sample-rate, --samples and --factors; or --init, whose format "
            "it then is.",
        )
    return replace(
        task,
        sample_rate_hz=given.sample_rate or task.sample_rate_hz,
        n_samples=given.samples or task.n_samples,
        factors=given.parsed_factors() or task.factors,
    )


def _recipe_name(job: TrainingJob, audio: Task) -> str:
    """The recipe asked for; else the task's, or that of a task with the same sample rate."""
    alike = (t.name for t in TASKS.values() if t.sample_rate_hz == audio.sample_rate_hz)
    own = job.recipe.recipe or job.network.task or task_of(job.data.dataset)
    return own or next(alike, "esc50")


def build_recipe(
    name: str, settings: RecipeSettings, transfer: TransferSettings | None = None
) -> Recipe:
    """The named recipe with the settings that were given, then ``--set``.

    What follows from the schedule's length and the precision follows from ``--set`` too.

    Raises:
        UsageError: a name or value that no recipe has, or one that nothing heeds.
    """
    transfer = transfer or TransferSettings()
    epochs, given = settings.epochs, {**transfer.changes(), **settings.changes()}
    if transfer.qat:
        epochs, given = epochs or QAT_EPOCHS, {**QAT_CHANGES, **given}
    first = override(named_recipe(name, epochs, **given), settings.assign)
    settled = {**given, "precision": first.precision}
    recipe = override(named_recipe(name, first.epochs, **settled), settings.assign)
    if recipe.teacher_weight and not transfer.teacher and recipe.qat == "off":
        raise UsageError("--set teacher_weight without --teacher.", "both, or neither.")
    return recipe


def _resolve_spec(
    network: NetworkSettings, audio: Task, source: Description | None, n_classes: int
) -> ModelSpec:
    if network.model:
        return preset(network.model, audio, n_classes)
    if source is None:
        raise UsageError("No --model is given.", "a preset; see `gmme-edge models`.")
    return replace(
        source.spec,
        sample_rate_hz=audio.sample_rate_hz,
        n_samples=audio.n_samples,
        factors=audio.factors,
        n_classes=n_classes,
    )
