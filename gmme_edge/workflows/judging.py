"""Which precision of a bundle this machine should run: accuracy and latency, measured here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmme_calibration.selection import Source, open_source
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.precisions import REFERENCE, in_table_order
from gmme_edge.data.levels import name_levels
from gmme_edge.data.store import WaveformStore
from gmme_edge.device.facts import describe_device
from gmme_edge.errors import EngineError, PlatformError, UsageError
from gmme_edge.evaluation import score_store
from gmme_edge.observer import SILENT, Observer
from gmme_edge.profiling.latency import Contender, LatencyRow, measure
from gmme_edge.profiling.rounds import LatencySettings
from gmme_edge.public import public
from gmme_edge.report.verdict import Tried, Verdict, reach_verdict
from gmme_edge.runtime.backends import (
    find_backend,
    runnable_precisions,
    why_unavailable,
)
from gmme_edge.scoring import Score
from gmme_edge.spec import ModelSpec
from gmme_edge.workflows.clips import check_labels, load_clips
from gmme_edge.workflows.evaluating import open_predictor
from gmme_edge.workflows.gates import check_accuracy, check_latency
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_edge.workflows.settings.verdict import JudgingClips, JudgingSettings

_THREADS = 1


@dataclass(frozen=True)
class Judgement:
    """The verdict, and what a manifest keeps of it."""

    verdict: Verdict
    document: dict[str, Any]

    @property
    def precision(self) -> str:
        """The one to run."""
        return self.verdict.chosen.precision


@dataclass(frozen=True, eq=False)
class Jury:
    """Decoded clips that calibrate nothing, by which precisions are judged.

    Attributes:
        where: the data set, its fold and the part of it, to be noted.
    """

    store: WaveformStore
    levels: tuple[str, ...]
    where: dict[str, Any]


@public
def judge(
    bundle: str | Path | Bundle,
    clips: JudgingClips,
    settings: JudgingSettings | None = None,
    observer: Observer = SILENT,
) -> Judgement:
    """Measure every precision of a bundle; recommend the fastest that loses little.

    Raises:
        UsageError: an unknown backend, or a bundle without fp32.
        DatasetError: other classes than the bundle's.
        AccuracyGateError, LatencyGateError: the precision to recommend fails a gate.
    """
    settings = settings or JudgingSettings()
    check_backend(settings.backend)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    source = open_source(clips.dataset, clips.data, clips.fold, True, observer)
    manifest = opened.manifest
    where = {"dataset": clips.dataset, "fold": clips.fold}
    check_labels(clips.dataset, source.labels, "the bundle", manifest.labels)
    jury = call_jury(manifest.model, source, where, clips, observer)
    return judge_by(jury, opened, settings, observer)


def check_backend(backend: str) -> None:
    """Refuse before the work what cannot be measured on.

    Raises:
        UsageError: no such backend.
        PlatformError: it does not run here.
    """
    find_backend(backend)
    if reason := why_unavailable(backend):
        raise PlatformError(f"There is no verdict for {backend} here: {reason}")


def call_jury(
    spec: ModelSpec,
    source: Source,
    where: dict[str, Any],
    decoding: ClipSettings,
    observer: Observer = SILENT,
) -> Jury:
    """Decode the validation clips of `source`."""
    store = load_clips(source.validation, "validation", spec.sample_rate_hz, decoding, observer)
    noted = {**where, "split": "validation", "held_out_of_training": source.lent}
    return Jury(store, name_levels(store, spec.n_samples), noted)


def judge_by(
    jury: Jury, bundle: Bundle, settings: JudgingSettings, observer: Observer = SILENT
) -> Judgement:
    """As `judge`, on clips that are decoded."""
    precisions = in_table_order(runnable_precisions(bundle, settings.backend))
    if REFERENCE not in precisions:
        raise UsageError(
            f"The bundle has no {REFERENCE} for {settings.backend}.",
            f"{REFERENCE}, with an engine where the backend needs one.",
            "export with it, or measure on another backend.",
        )
    scores = [_score(jury, bundle, settings.backend, name, observer) for name in precisions]
    observer.stage("latency, in turns")
    contenders = [Contender(bundle, settings.backend, name, _THREADS) for name in precisions]
    rows: list[LatencyRow] = measure(
        contenders, LatencySettings(), lambda done, total: observer.progress("calls", done, total)
    )
    verdict = reach_verdict(
        [Tried(*measured) for measured in zip(scores, rows, strict=True)], settings.max_drop_points
    )
    chosen = verdict.chosen
    name = f"{chosen.precision}, the precision to recommend"
    check_accuracy({name: chosen.score}, settings.min_accuracy, "train longer, or allow less.")
    check_latency(
        [chosen.latency],
        settings.max_latency_p90_ms,
        "allow more, or measure on another backend.",
    )
    return Judgement(verdict, verdict.to_dict(jury.where, describe_device()))


def _score(jury: Jury, bundle: Bundle, backend: str, precision: str, observer: Observer) -> Score:
    observer.stage(f"accuracy of {precision}")
    manifest = bundle.manifest
    try:
        with open_predictor(bundle, backend, precision) as predict:
            return score_store(
                predict,
                jury.store,
                manifest.model.n_samples,
                manifest.labels,
                on_progress=lambda done, total: observer.progress("clips", done, total),
                levels=jury.levels,
            )
    except EngineError as error:  # its advice is a flag that no caller of this has
        fix = "export with --engine for this GPU, or measure on another backend."
        raise EngineError(error.got, error.expected, fix) from error
