"""The options of `export --auto`, and the measurements behind the precision it recommends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options.gates import check_accuracy, check_latency
from gmme_edge.errors import PlatformError, UsageError

if TYPE_CHECKING:
    from gmme_calibration.selection import Source
    from gmme_edge.bundle.bundle import Bundle, Manifest
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.observer import Observer
    from gmme_edge.report.verdict import Tried
    from gmme_edge.workflows.settings.clips import ClipSettings

_PANEL = "Verdict"
_DEFAULT_DROP_POINTS = 0.5
_THREADS = 1

AutoOption = Annotated[
    bool,
    typer.Option(
        "--auto",
        help="Export fp32, fp16 and int8, measure accuracy (validation clips of --calib-dataset) "
        "and latency here, and recommend one to the runtime.",
        rich_help_panel=_PANEL,
    ),
]
AutoBackendOption = Annotated[
    str,
    typer.Option(
        help="Where --auto measures: ort-cpu, ort-cuda, tensorrt, tensorrt-rtx.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class VerdictSettings:
    """What `--auto` and its gates ask for."""

    max_drop_points: float = _DEFAULT_DROP_POINTS
    backend: str = "ort-cpu"
    min_accuracy: float | None = None
    max_latency_p90_ms: float | None = None


def verdict_settings(
    auto: bool, max_accuracy_drop: float | None, backend: str, min_accuracy: float | None,
    max_latency_p90_ms: float | None, precisions: tuple[str, ...], measurable: bool,
) -> VerdictSettings | None:  # fmt: skip
    """The options together; None without `--auto`.

    Args:
        measurable: there is a trained network, and a data set to measure it on.
    """
    from gmme_edge.runtime.backends import BACKENDS, why_unavailable

    if not auto:
        if min_accuracy is not None or max_latency_p90_ms is not None:
            raise UsageError("Limits of the verdict without --auto.", "both, or neither.")
        return None
    if "fp32" not in precisions:
        raise UsageError(f"--auto with {', '.join(precisions)}.", "fp32 among the precisions.")
    if not measurable:
        raise UsageError(
            "--auto has nothing to measure accuracy with.",
            "a trained checkpoint and a labelled data set: its validation clips judge, its "
            "training clips calibrate.",
            "add --calib-dataset and --calib-data.",
        )
    if backend not in BACKENDS:
        raise UsageError(f"Unknown backend {backend!r}.", f"one of {', '.join(BACKENDS)}.")
    if reason := why_unavailable(backend):
        raise PlatformError(f"--auto cannot measure on {backend} here: {reason}")
    drop = _DEFAULT_DROP_POINTS if max_accuracy_drop is None else max_accuracy_drop
    return VerdictSettings(drop, backend, min_accuracy, max_latency_p90_ms)


def make_judge(
    settings: VerdictSettings, checkpoint: Checkpoint, source: Source, where: dict[str, Any],
    decoding: ClipSettings, observer: Observer,
) -> Callable[[Bundle, Observer], Manifest]:  # fmt: skip
    """Decode the validation clips; returns what judges a bundle before it is put in its place.

    Args:
        where: the data set's name and fold, to be noted.
    """
    from gmme_edge.bundle.precisions import in_table_order
    from gmme_edge.data.levels import name_levels
    from gmme_edge.device.facts import describe_device
    from gmme_edge.evaluation import score_store
    from gmme_edge.profiling.latency import LatencySettings, Target, measure
    from gmme_edge.report.verdict import Tried, reach_verdict
    from gmme_edge.runtime.backends import runnable_precisions
    from gmme_edge.workflows.clips import check_labels, load_clips
    from gmme_edge.workflows.evaluating import open_predictor

    spec, labels = checkpoint.spec, checkpoint.labels
    check_labels(where["dataset"], source.labels, "the checkpoint", labels)
    store = load_clips(source.validation, "validation", spec.sample_rate_hz, decoding, observer)
    levels = name_levels(store, spec.n_samples)

    def judge(bundle: Bundle, report: Observer) -> Manifest:
        precisions = in_table_order(runnable_precisions(bundle, settings.backend))
        scores = []
        for precision in precisions:
            report.stage(f"accuracy of {precision}")
            with open_predictor(bundle, settings.backend, precision) as predict:
                scores.append(
                    score_store(
                        predict,
                        store,
                        spec.n_samples,
                        labels,
                        on_progress=lambda done, total: report.progress("clips", done, total),
                        levels=levels,
                    )
                )
        report.stage("latency, in turns")
        targets = [Target(bundle, settings.backend, name, _THREADS) for name in precisions]
        rows = measure(
            targets, LatencySettings(), lambda done, total: report.progress("calls", done, total)
        )
        verdict = reach_verdict(
            [Tried(*measured) for measured in zip(scores, rows, strict=True)],
            settings.max_drop_points,
        )
        _check_gates(settings, verdict.chosen)
        noted = {**where, "split": "validation", "held_out_of_training": source.lent}
        return replace(bundle.manifest, verdict=verdict.to_dict(noted, describe_device()))

    return judge


def _check_gates(settings: VerdictSettings, chosen: Tried) -> None:
    name = f"{chosen.precision}, the precision to recommend"
    nothing = "allow more, or take another --auto-backend. No bundle was written."
    check_accuracy({name: chosen.score}, settings.min_accuracy, nothing)
    check_latency([chosen.latency], settings.max_latency_p90_ms, nothing)
