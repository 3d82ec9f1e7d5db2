"""Train a network, or cross-validate one: a data set to checkpoints.

job = TrainingJob(
    data=LearningData(dataset="folder", data=Path("sounds")),
    run=RunSettings(output=Path("model")),
    network=NetworkSettings(model="eat-s-gmme-k32c8", task="esc50"),
)
train(job)
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmme_edge.errors import UsageError, require
from gmme_edge.files import write_json
from gmme_edge.interrupt import interrupt_on_signal
from gmme_edge.observer import SILENT, ToldInterrupt
from gmme_edge.public import public
from gmme_edge.report.paired import PairedResult, Tested, compare_pair, load_tested, parse_tested
from gmme_edge.training.folds import RESULT, is_result
from gmme_edge.training.run.claim import claim_folder, refuse_foreign, refuse_loss
from gmme_edge.training.run.journal import Journal
from gmme_edge.workflows.training_curves import CURVES, is_curves, write_curves
from gmme_edge.workflows.training_observer import Tolerant, TrainingObserver
from gmme_edge.workflows.training_plan import Plan, TrainingJob, make_plan

if TYPE_CHECKING:
    from gmme_edge.spec import ModelSpec
    from gmme_edge.training.cross_validation import FoldResult
    from gmme_edge.training.run.loop import Progress, Trainer
    from gmme_edge.workflows.training_setup import TrainingSetup

__all__ = ["CrossValidation", "Trained", "TrainingJob", "cross_validate", "run_trainer", "train"]

_DRAW_EVERY_S = 60.0


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        figures: of the last epoch; ``monitor_accuracy`` is of the `watched` clips.
        watched: "validation", "test" or "none".
    """

    checkpoint: Path
    spec: ModelSpec
    epochs: int
    figures: dict[str, float]
    watched: str


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation: its file, what that holds, and the paired test if asked for."""

    path: Path
    document: dict[str, Any]
    comparison: PairedResult | None


@public
def train(job: TrainingJob, observer: TrainingObserver | None = None) -> Trained | None:
    """One run; the same job continues a run that was stopped.

    Returns:
        None in all processes but the first, where several share the run.

    Raises:
        GmmeEdgeError: settings, data, folder or machine do not allow it; see the exception's kind.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, with the state saved or untouched.
    """
    if job.data.folds is not None:
        raise UsageError("folds with train.", "fold, or no folds.", "call cross_validate.")
    _miss_torch()
    heard = Tolerant(observer or TrainingObserver())
    with _loading(heard), claim_folder(job.run.output):
        plan = make_plan(job, job.data.fold, heard)
        _refuse_loss(job.run.output, job.run.restart)
        setup = _set_up(job, plan, heard)
        trainer = _run_fold(setup, plan, job.run.output, job.data.fold)
    if setup.rank > 0:
        return None
    return Trained(
        job.run.output,
        plan.spec,
        plan.recipe.epochs,
        dict(trainer.state.history[-1]),
        watched_part(trainer),
    )


@public
def cross_validate(
    job: TrainingJob, observer: TrainingObserver | None = None
) -> CrossValidation | None:
    """A run per fold of ``job.data.folds`` in ``fold-K``, each scored on its test clips.

    Folds that are done are scored again and cost seconds. Returns and raises as `train`.
    """
    if job.data.folds is None:
        raise UsageError("cross_validate without folds.", "folds, such as 'all'.", "call train.")
    _miss_torch()
    heard, output = Tolerant(observer or TrainingObserver()), job.run.output
    results: list[FoldResult] = []
    with _loading(heard):
        folds = job.folds
        baseline = load_tested(job.data.against) if job.data.against else None
        plans = {
            fold: make_plan(job, fold, heard if fold == folds[0] else SILENT) for fold in folds
        }
        with claim_folder(output):
            refuse_foreign(output / RESULT, is_result)
            for fold in folds:
                _refuse_loss(job.output(fold), job.run.restart)
            setup = _set_up(job, plans[folds[0]], heard)
            for fold in folds:
                with claim_folder(job.output(fold)):
                    trainer = _run_fold(setup, plans[fold], job.output(fold), fold)
                    if setup.rank == 0:
                        results.append(_score(setup, trainer, plans[fold], fold))
                        heard.note(f"fold {fold}: {results[-1].accuracy:.2%} of its test clips")
            if setup.rank > 0:
                return None
            return _conclude(output, results, trainer.identity, baseline, job.command)


def _refuse_loss(out: Path, restart: bool) -> None:
    refuse_loss(out, restart)
    refuse_foreign(out / CURVES, is_curves)


def _miss_torch() -> None:
    """Say what is not installed before anything else, but do not load it yet."""
    for module, purpose in (("torch", "train"), ("safetensors", "write checkpoints")):
        if sys.modules.get(module, sys) is None or find_spec(module) is None:
            require(module, purpose)


def _set_up(job: TrainingJob, plan: Plan, observer: TrainingObserver) -> TrainingSetup:
    """Load torch, and join the processes that share the run."""
    observer.stage("load PyTorch")
    torch = require("torch", "train")
    from gmme_edge.workflows.training_setup import TrainingSetup, choose_device, join_processes

    device = choose_device(job.machine.device)
    if job.machine.threads:
        torch.set_num_threads(job.machine.threads)
    setup = TrainingSetup(
        job, device, join_processes(job.machine, device, plan.recipe.precision), observer
    )
    observer.joined(setup.rank)
    return setup


def _run_fold(setup: TrainingSetup, plan: Plan, out: Path, fold: int | None) -> Trainer:
    observer, job = setup.observer, setup.job
    assert isinstance(observer, TrainingObserver)
    with contextlib.closing(Journal(out, job.machine.tensorboard)) as journal:
        trainer = setup.make_trainer(plan, out, fold, journal)
        title = plan.spec.name if not job.folds else f"{plan.spec.name} fold {fold}"
        run_trainer(trainer, title, observer, job.run.restart)
    return trainer


def run_trainer(
    trainer: Trainer, title: str, observer: TrainingObserver, restart: bool = False
) -> None:
    """Run a trainer to its end under an observer, and draw its curves now and then."""
    drawn_at = time.monotonic()
    first_step = trainer.state.step
    scoring = f"score the {watched_part(trainer)} clips"

    def on_progress(progress: Progress) -> None:
        nonlocal drawn_at
        observer.stepped(progress)
        whole = progress.step % trainer.steps_per_epoch == 0
        if whole and time.monotonic() - drawn_at >= _DRAW_EVERY_S:
            write_curves(trainer, title)
            drawn_at = time.monotonic()

    observer.began(trainer, title)
    try:
        trainer.run(on_progress, restart, lambda done, n: observer.progress(scoring, done, n))
    except KeyboardInterrupt:
        if trainer.state.step > first_step:
            write_curves(trainer, title)
            observer.note(f"stopped at step {trainer.state.step}; the same command continues it.")
            raise ToldInterrupt from None
        raise
    finally:
        observer.ended()
    write_curves(trainer, title)


@contextlib.contextmanager
def _loading(observer: TrainingObserver) -> Iterator[None]:
    """Until the first step a signal ends the call at once, with a word."""
    try:
        with interrupt_on_signal():
            yield
    except ToldInterrupt:
        raise
    except KeyboardInterrupt:
        observer.ended()
        observer.note("stopped before a step was done; the same command starts again.")
        raise ToldInterrupt from None


def watched_part(trainer: Trainer) -> str:
    """Which clips each epoch's accuracy is of."""
    return str(trainer.data.description.get("monitor", "test"))


def _score(setup: TrainingSetup, trainer: Trainer, plan: Plan, fold: int) -> FoldResult:
    from gmme_edge.training.cross_validation import score_fold

    test = None if watched_part(trainer) == "test" else setup.load_test(plan)
    return score_fold(trainer, fold, test)


def _conclude(
    output: Path,
    results: list[FoldResult],
    identity: dict[str, Any],
    baseline: Tested | None,
    command: str,
) -> CrossValidation:
    from gmme_edge.training.cross_validation import cross_validation_document

    document, path = cross_validation_document(results, identity, command), output / RESULT
    comparison = None
    if baseline:
        comparison = compare_pair(baseline, parse_tested(document, str(path)))
        document["paired"] = comparison.to_dict()
    write_json(path, document)
    return CrossValidation(path, document, comparison)
