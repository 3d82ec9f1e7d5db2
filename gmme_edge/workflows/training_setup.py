"""From the options of `train` to trainers: data, network, initial weights, teacher, processes."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmme_edge.errors import UsageError
from gmme_edge.observer import SILENT, Observer
from gmme_edge.workflows.clips import load_clips, load_split
from gmme_edge.workflows.settings.clips import ClipSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from gmme_edge.data.dataset import Dataset
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.spec import ModelSpec, Task
    from gmme_edge.training.recipe import Recipe
    from gmme_edge.training.run.journal import Journal
    from gmme_edge.training.run.loop import Trainer, TrainingData

_TASK_OF_DATASET = {"esc50": "esc50", "esc10": "esc50", "urbansound8k": "urbansound8k",
                    "speech-commands": "speech-commands"}  # fmt: skip
_SAME_FOLDS = {"esc10": "esc50"}


@dataclass(frozen=True)
class AudioFormat:
    """A task's name and what is to differ from it; None where an option is not given."""

    task: str | None = None
    sample_rate_hz: int | None = None
    n_samples: int | None = None
    factors: str | None = None

    def resolve(self, dataset: str, source: Checkpoint | None) -> Task:
        """The named task's format, else the data set's own, else that of the initial weights.

        Raises:
            UsageError: none of the three, an unknown task, or factors that are no numbers.
        """
        from gmme_edge.spec import Task, get_task

        name = self.task or _TASK_OF_DATASET.get(dataset)
        if name:
            task = get_task(name)
        elif source:
            spec = source.spec
            task = Task("", spec.sample_rate_hz, spec.n_samples, spec.factors, spec.n_classes)
        else:
            raise UsageError(
                f"A {dataset} data set has no audio format of its own.",
                "--task esc50, urbansound8k or speech-commands (sample rate and clip length), "
                "adjusted with --sample-rate, --samples and --factors; or --init, whose format "
                "it then is.",
            )
        return replace(
            task,
            sample_rate_hz=self.sample_rate_hz or task.sample_rate_hz,
            n_samples=self.n_samples or task.n_samples,
            factors=_parse_factors(self.factors) if self.factors else task.factors,
        )

    def recipe_name(self, dataset: str, source: Checkpoint | None) -> str:
        """Whose recipe it is: the task's, or that of a task with the same sample rate."""
        from gmme_edge.spec import TASKS

        rate_hz = self.resolve(dataset, source).sample_rate_hz
        alike = (task.name for task in TASKS.values() if task.sample_rate_hz == rate_hz)
        return self.task or _TASK_OF_DATASET.get(dataset) or next(alike, "esc50")


def _parse_factors(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--factors {text}", "numbers such as 4,4,4.") from None


@dataclass(frozen=True)
class TrainingSetup:
    """What all folds of one call of `train` share."""

    dataset: str
    data: Path
    model: str | None
    audio: AudioFormat
    recipe: Recipe
    init: str | None
    any_rate: bool
    teacher: str | None
    device: str
    fabric: Fabric | None
    clips: ClipSettings
    _whole: dict[int, WaveformStore] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        return self.fabric.global_rank if self.fabric else 0

    def make_trainer(
        self, out: Path, fold: int | None, journal: Journal, several: bool = False,
        observer: Observer = SILENT,
    ) -> Trainer:  # fmt: skip
        """A trainer that tests on `fold`.

        Args:
            several: other folds follow: decode the whole data set once.
        """
        from gmme_edge.bundle.bundle import MANIFEST
        from gmme_edge.data.registry import open_dataset
        from gmme_edge.models.checkpoint import Checkpoint
        from gmme_edge.training.distill import Teacher
        from gmme_edge.training.run.loop import Trainer
        from gmme_edge.training.run.start import check_trained
        from gmme_edge.training.transfer import initial_model

        if (out / MANIFEST).exists():
            raise UsageError(
                f"{out} is a bundle; its files would no longer match their hashes.", "another -o."
            )
        opened = open_dataset(self.dataset, self.data, fold)
        source = self._open_source("--init", self.init, fold)
        taught_by = self._open_source("--teacher", self.teacher, fold)
        spec = self._spec(source, len(opened.labels))
        start, teacher, identity = None, None, {}
        if source:
            if self.recipe.qat != "off":
                check_trained(source, opened.labels)
            start = initial_model(spec, source, opened.labels, self.recipe.seed, self.any_rate)
            identity["init"] = {"name": Path(self.init or "").name, "sha256": source.sha256}
        if taught_by:
            identity["teacher"] = {
                "name": Path(self.teacher or "").name,
                "sha256": taught_by.sha256,
            }
        elif start and self.recipe.qat != "off" and self.recipe.teacher_weight:
            taught_by = Checkpoint(copy.deepcopy(start), opened.labels)
        if taught_by:
            teacher = Teacher(taught_by, self.fabric.device if self.fabric else self.device)
            teacher.check(spec, opened.labels)
        data = self._load(opened, fold, spec.sample_rate_hz, several, observer)
        return Trainer(
            spec, data, self.recipe, out,
            self.device, fabric=self.fabric, start=start, teacher=teacher, identity=identity,
            journal=journal,
        )  # fmt: skip

    def _spec(self, source: Checkpoint | None, n_classes: int) -> ModelSpec:
        from gmme_edge.spec import preset

        audio = self.audio.resolve(self.dataset, source)
        if self.model:
            return preset(self.model, audio, n_classes)
        if source is None:
            raise UsageError("No --model is given.", "a preset; see `gmme-edge models`.")
        return replace(
            source.spec, sample_rate_hz=audio.sample_rate_hz, n_samples=audio.n_samples,
            factors=audio.factors, n_classes=n_classes,
        )  # fmt: skip

    def _open_source(self, option: str, name: str | None, fold: int | None) -> Checkpoint | None:
        if name is None:
            return None
        checkpoint = open_source(name, fold)
        _refuse_leak(option, name, checkpoint, self.dataset, fold)
        return checkpoint

    def _load(
        self, opened: Dataset, fold: int | None, sample_rate_hz: int, several: bool,
        observer: Observer,
    ) -> TrainingData:  # fmt: skip
        from gmme_edge.data.seen import FINGERPRINTS, fingerprints, needs_fingerprints
        from gmme_edge.training.run.loop import TrainingData

        watched = "validation" if "validation" in opened.counts() else "test"
        description = {"dataset": self.dataset, "fold": fold, "monitor": watched}
        if several:
            stores = self._take_parts(opened, watched, sample_rate_hz, observer)
        else:
            splits = [split for split in ("train", watched) if split in opened.counts()]
            stores = [
                load_split(opened, split, sample_rate_hz, self.clips, observer)
                for split in splits or ["train"]
            ]
        facts = {}
        if needs_fingerprints(self.dataset):
            observer.stage("fingerprint the training clips")
            facts[FINGERPRINTS] = fingerprints(stores[0].paths)
        return TrainingData(
            stores[0], stores[1] if len(stores) > 1 else None, opened.labels, description, facts
        )

    def _take_parts(
        self, opened: Dataset, watched: str, sample_rate_hz: int, observer: Observer
    ) -> list[WaveformStore]:
        if sample_rate_hz not in self._whole:
            clips = tuple(sorted(opened.clips, key=lambda clip: clip.path))
            self._whole[sample_rate_hz] = load_clips(
                clips, "data set", sample_rate_hz, self.clips, observer
            )
        whole = self._whole[sample_rate_hz]
        return [
            whole.subset({clip.path for clip in opened.clips if clip.split == split})
            for split in ("train", watched)
        ]


def open_source(name: str, fold: int | None) -> Checkpoint:
    """A checkpoint by name or path, in which ``{fold}`` stands for the fold's number."""
    from gmme_edge.models.checkpoint import open_checkpoint

    return open_checkpoint(name.replace("{fold}", str(fold)))


def _refuse_leak(
    option: str, name: str, checkpoint: Checkpoint, dataset: str, fold: int | None
) -> None:
    """A network that was trained on the clips of the test fold would make the score worthless."""
    origin: dict[str, Any] = checkpoint.training.get("data") or {}
    theirs, their_fold = str(origin.get("dataset")), origin.get("fold")
    if fold is None or their_fold in (None, fold):
        return
    if _SAME_FOLDS.get(theirs, theirs) == _SAME_FOLDS.get(dataset, dataset) != "folder":
        raise UsageError(
            f"{option} {name} was trained on {theirs} with test fold {their_fold}, so it knows "
            f"the clips of fold {fold}, which are to test here.",
            f"a network with test fold {fold}.",
            f"cross-validate that network first, and give {option} ITS-FOLDER/fold-{{fold}}.",
        )


def choose_device(name: str) -> str:
    """``auto`` resolved; a device that torch does not know or have is refused."""
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


def join_processes(device: str, devices: int, nodes: int, precision: str) -> Fabric | None:
    """The Fabric of a run in several processes, however they are started; None for one process."""
    import torch.distributed as dist

    started = "LT_CLI_USED" in os.environ or (
        dist.is_available() and dist.is_torchelastic_launched()
    )
    if devices * nodes == 1 and not started:
        return None
    from gmme_edge.training.parallel.fabric import open_fabric

    return open_fabric(device, devices, nodes, precision)
