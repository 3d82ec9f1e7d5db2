"""From a training's plan to a trainer: clips, initial weights, teacher, processes, memory."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from gmme_edge.data.dataset import Clip, Dataset, count_reasons
from gmme_edge.data.holdout import with_validation
from gmme_edge.data.seen import FINGERPRINTS, fingerprints, inherit, judge_seen, needs_fingerprints
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.licenses import KEY, license_of, noted
from gmme_edge.models.checkpoint import Checkpoint, load_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.observer import Observer
from gmme_edge.training.distill import Teacher
from gmme_edge.training.parallel.fabric import open_fabric, processes_here
from gmme_edge.training.run.journal import Journal
from gmme_edge.training.run.loop import Place, Start, Trainer, TrainingData
from gmme_edge.training.run.memory import fitting_micro_batch, free_bytes
from gmme_edge.training.run.start import check_trained
from gmme_edge.training.run.state import refuse_other_run, saved_micro_batch
from gmme_edge.training.transfer import initial_model
from gmme_edge.workflows.clips import load_clips
from gmme_edge.workflows.settings.training import MachineSettings
from gmme_edge.workflows.training_plan import Plan, TrainingJob, source_path

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class TrainingSetup:
    """What all folds of one call share."""

    job: TrainingJob
    device: str
    fabric: Fabric | None
    observer: Observer
    _whole: dict[int, WaveformStore] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @property
    def rank(self) -> int:
        return self.fabric.global_rank if self.fabric else 0

    def make_trainer(self, plan: Plan, out: Path, fold: int | None, journal: Journal) -> Trainer:
        """A trainer that tests on `fold`."""
        source = self._open_source("--init", self.job.transfer.init, plan, fold)
        taught_by = self._open_source("--teacher", self.job.transfer.teacher, plan, fold)
        start = self._start(plan, source, taught_by)
        if not self.job.run.restart:  # before the clips, which may take minutes
            refuse_other_run(out, self._known(plan, fold, start))
        data = self._load(plan, fold)
        facts = inherit(source.origin, data.facts) if source else dict(data.facts)
        trained = [license_of(each.origin) for each in (source, taught_by) if each]
        licenses = noted(*trained, self.job.data.data_license or "")
        data = replace(data, facts={**facts, **licenses})
        place = Place(self.device, self.fabric, self._micro_batch(plan, out, len(data.train)))
        self.observer.stage("prepare the network")
        return Trainer(plan.spec, data, plan.recipe, out, place, start, journal)

    def load_test(self, plan: Plan) -> WaveformStore:
        """The test clips of a fold whose training watches held-out clips instead."""
        return self._decode(plan.dataset.select("test"), "test", plan)

    def _known(self, plan: Plan, fold: int | None, start: Start) -> dict[str, Any]:
        """As much of `Trainer.identity` as no clip is needed for."""
        optional = dict.fromkeys(("validation_share", KEY))  # not given differs from given
        described = {**optional, **self._describe_data(fold)}
        return {
            "model": plan.spec.to_dict(),
            "recipe": plan.recipe.to_dict(),
            "data": {**described, "labels": list(plan.dataset.labels)},
            **start.identity,
        }

    def _describe_data(self, fold: int | None) -> dict[str, Any]:
        settings = self.job.data
        description: dict[str, Any] = {"dataset": settings.dataset, "fold": fold}
        if settings.validation_share is not None:
            description["validation_share"] = settings.validation_share
        if settings.data_license is not None:  # who continues without it would take it away
            description[KEY] = settings.data_license
        return description

    def _start(self, plan: Plan, source: Checkpoint | None, taught_by: Checkpoint | None) -> Start:
        transfer, recipe, labels = self.job.transfer, plan.recipe, plan.dataset.labels
        weights: EAT | None = None
        identity: dict[str, Any] = {}
        if source:
            if recipe.qat != "off":
                check_trained(source, labels)
            weights = initial_model(plan.spec, source, labels, recipe.seed, transfer.any_rate)
            identity["init"] = _name_source(transfer.init, source)
        if taught_by:
            identity["teacher"] = _name_source(transfer.teacher, taught_by)
        elif weights and recipe.qat != "off" and recipe.teacher_weight:
            taught_by = Checkpoint(copy.deepcopy(weights), labels)
        if taught_by is None:
            return Start(weights, None, identity)
        teacher = Teacher(taught_by, self.fabric.device if self.fabric else self.device)
        teacher.check(plan.spec, labels)
        return Start(weights, teacher, identity)

    def _open_source(
        self, option: str, name: str | None, plan: Plan, fold: int | None
    ) -> Checkpoint | None:
        if name is None:
            return None
        checkpoint = load_checkpoint(source_path(name, fold))
        tests = [clip for clip in plan.dataset.clips if clip.split == "test"]
        _refuse_leak(f"{option} {name}", checkpoint.origin, self.job.data.dataset, fold, tests)
        return checkpoint

    def _load(self, plan: Plan, fold: int | None) -> TrainingData:
        settings, opened = self.job.data, plan.dataset
        description = self._describe_data(fold)
        if settings.validation_share:
            opened = _hold_out(opened, settings.validation_share)
        counts = opened.counts()
        watched = "validation" if "validation" in counts else "test"
        if settings.validation_share == 0:
            watched = "none"
        if watched == "test" and "test" in counts and "watched" not in self._told:
            self._told.add("watched")  # once, not for each fold
            self.observer.note(
                "note: the figures of each epoch are of the test clips, so choose nothing by "
                "them; --validation-share 0.1 watches training clips that are held out, and 0 none"
            )
        description["monitor"] = watched
        parts = [part for part in ("train", watched) if part in counts] or ["train"]
        stores = [self._decode(opened.select(part), part, plan) for part in parts]  # type: ignore[arg-type]
        facts: dict[str, Any] = {}
        if opened.left_out:
            facts["left_out"] = count_reasons(opened.left_out)
        if needs_fingerprints(settings.dataset):
            self.observer.stage("fingerprint the training clips")
            facts[FINGERPRINTS] = fingerprints(stores[0].paths)
        monitor = stores[1] if len(stores) > 1 else None
        return TrainingData(stores[0], monitor, opened.labels, description, facts)

    def _decode(self, clips: tuple[Clip, ...], what: str, plan: Plan) -> WaveformStore:
        """Of a data set in folds the whole is decoded once for all of them; each part is a view."""
        rate_hz, settings = plan.spec.sample_rate_hz, self.job.data
        self.observer.stage(f"load the {what} clips")
        if settings.fold is None and settings.folds is None:
            return load_clips(clips, what, rate_hz, settings, self.observer)
        if rate_hz not in self._whole:
            every = tuple(sorted(plan.dataset.clips, key=lambda clip: clip.path))
            self._whole[rate_hz] = load_clips(every, "data set", rate_hz, settings, self.observer)
        return self._whole[rate_hz].subset({clip.path for clip in clips})

    def _micro_batch(self, plan: Plan, out: Path, n_clips: int) -> int | None:
        """What was asked for, what an unfinished run uses, or what fits into memory."""
        asked, size = self.job.machine.micro_batch, self.fabric.world_size if self.fabric else 1
        n_rows = max(min(plan.recipe.batch_size, n_clips) // size, 1)
        asked = None if asked is not None and asked >= n_rows else asked
        begun, saved = (False, None) if self.job.run.restart else saved_micro_batch(out)
        if begun:
            if self.job.machine.micro_batch is not None and asked != saved:
                raise UsageError(
                    f"The run in {out} has a micro-batch of {saved or n_rows}.",
                    "the settings with which it was started.",
                    "leave --micro-batch out, or start again with --restart.",
                )
            return saved
        if self.job.machine.micro_batch is not None:
            return asked
        free = self._free_bytes()
        if free is None:
            return None
        fits = fitting_micro_batch(plan.spec, plan.recipe, n_rows, free)
        if fits is not None:
            self.observer.note(
                f"note: a batch of {n_rows} clips would not fit into {free / 1e9:.1f} GB: it is "
                f"computed in parts of at most {fits}, each with BatchNorm statistics of its own "
                "(--micro-batch)"
            )
        return fits

    def _free_bytes(self) -> int | None:
        """What each process may take: the same number in all, which must divide batches alike."""
        fabric = self.fabric
        device = fabric.device if fabric else torch.device(self.device)
        free = free_bytes(device)
        if fabric is None or fabric.world_size == 1:
            return free
        if free is not None and device.type == "cpu":  # the processes of a machine share it
            free //= _processes_here(fabric.world_size, self.job.machine.nodes)
        told = torch.tensor(-1 if free is None else free, dtype=torch.int64, device=device)
        least = int(torch.as_tensor(fabric.all_gather(told)).min())
        return None if least < 0 else least


def _processes_here(size: int, nodes: int) -> int:
    """Of `size` processes, those on this machine; torchrun says it."""
    return processes_here() or max(size // nodes, 1)


def _name_source(name: str | None, checkpoint: Checkpoint) -> dict[str, str]:
    return {"name": Path(name or "").name, "sha256": checkpoint.sha256}


def _hold_out(opened: Dataset, share: float) -> Dataset:
    if "validation" in opened.counts():
        raise UsageError(
            "--validation-share for a data set that has validation clips.",
            "a data set in folds, or without a validation split.",
            "leave it out.",
        )
    return with_validation(opened, share=share)


def _refuse_leak(
    what: str, origin: dict[str, Any], dataset: str, fold: int | None, tests: list[Clip]
) -> None:
    """A network that was trained on the test clips would make the score worthless."""
    unnamed = fold is not None and origin.get("fold") is None and not needs_fingerprints(dataset)
    if not tests or unnamed:  # networks of before do not name their fold
        return
    seen = judge_seen(origin, dataset, fold, tests)
    if seen.state == "seen":
        raise UsageError(
            f"{what} knows clips that are to test here: {seen.reason}.",
            "a network that was not trained on them"
            + (f", such as one with test fold {fold}." if fold else "."),
            f"cross-validate that network first, and give {what.split()[0]} "
            "ITS-FOLDER/fold-{fold}.",
        )


def choose_device(name: str) -> str:
    """``auto`` resolved; a device that torch does not have is refused."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(name)
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise PlatformError(f"torch sees no CUDA device for {name!r}.", fix="use --device cpu.")
    return name


def join_processes(machine: MachineSettings, device: str, precision: str) -> Fabric | None:
    """The Fabric of a run in several processes, however they are started; None for one process."""
    started = "LT_CLI_USED" in os.environ or (
        dist.is_available() and dist.is_torchelastic_launched()
    )
    if machine.devices * machine.nodes == 1 and not started:
        return None
    return open_fabric(device, machine.devices, machine.nodes, precision)
