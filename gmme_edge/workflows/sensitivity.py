"""What each part of a network loses when it is quantized, alone and with all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmme_edge.destinations import real_folder
from gmme_edge.errors import UsageError
from gmme_edge.files import updating_folder, write_json, write_text
from gmme_edge.models.description import check_present
from gmme_edge.observer import SILENT, Observer
from gmme_edge.pretrained import resolve
from gmme_edge.public import public
from gmme_edge.report.documents import describe_result
from gmme_edge.report.render.sensitivity import draw_sensitivity_chart
from gmme_edge.settings import command_line
from gmme_edge.workflows.exporting import require_exporters
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_edge.workflows.settings.int8 import Int8Settings
from gmme_edge.workflows.settings.sensitivity import SensitivityClips, SensitivitySettings

if TYPE_CHECKING:  # these load torch
    from gmme_calibration.sample import CalibrationSet
    from gmme_calibration.thresholds import Method
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.workflows.int8 import Refiner

RESULT, CHART = "sensitivity.json", "sensitivity.svg"


@dataclass(frozen=True)
class Sensitivity:
    """The folder with the result and its chart, and what the result holds."""

    folder: Path
    document: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Study:
    checkpoint: Checkpoint
    settings: SensitivitySettings
    clips: CalibrationSet
    validation: WaveformStore | None
    method: Method
    ranges_cache: Path
    refiner: Refiner


@public
def measure_sensitivity(
    source: str | Path,
    clips: SensitivityClips,
    settings: SensitivitySettings,
    observer: Observer = SILENT,
) -> Sensitivity:
    """Quantize every part alone, and all but it; write the result and a chart.

    Args:
        source: a checkpoint, or a shipped model's name.

    Raises:
        GmmeEdgeError: see the exception's kind; nothing half-written stays.
    """
    check_present(resolve(source))  # a wrong path is told before torch is loaded
    require_exporters(observer)
    from gmme_calibration.thresholds import Method
    from gmme_edge.data.store import default_cache
    from gmme_edge.models.checkpoint import open_checkpoint
    from gmme_edge.workflows.int8 import make_refiner

    method = Method.parse(clips.calib_method)
    folder = real_folder(settings.output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{settings.output} exists and is no folder.", "a folder.")
    checkpoint = open_checkpoint(source)
    int8 = Int8Settings(
        bias_correction=settings.bias_correction,
        equalize=settings.equalize,
        int8_float="none",  # every layer is quantized in its turn
    )
    study = _Study(
        checkpoint,
        settings,
        *_decode(checkpoint, clips, settings.accuracy, observer),
        method,
        clips.cache or default_cache(),
        make_refiner(checkpoint, int8),
    )
    command = command_line("sensitivity", [source], clips, settings)
    with updating_folder(folder, (RESULT, CHART), RESULT) as new:
        document = {
            **describe_result("sensitivity", command),
            "model": checkpoint.spec.name,
            "precision": settings.precision,
            "dataset": clips.dataset,
            "fold": clips.fold,
            **_measure(study, new.parent / "graphs", observer),
        }
        write_json(new / RESULT, document)
        title = f"{document['model']}, {settings.precision}, {clips.dataset}"
        write_text(new / CHART, draw_sensitivity_chart(title, document["effects"]))
    return Sensitivity(settings.output, document)


def _decode(
    checkpoint: Checkpoint, clips: SensitivityClips, accuracy: bool, observer: Observer
) -> tuple[CalibrationSet, WaveformStore | None]:
    """Training clips that calibrate, and validation clips where accuracy is asked for."""
    from gmme_calibration.selection import UNLABELLED, open_source
    from gmme_edge.workflows.clips import check_labels, load_clips
    from gmme_edge.workflows.int8 import calibration_clips, check_calibration_data

    source = open_source(clips.dataset, clips.data, clips.fold, accuracy, observer)
    if accuracy:
        check_labels(clips.dataset, source.labels, "the checkpoint", checkpoint.labels)
    if clips.dataset != UNLABELLED:  # it makes no bundle, so the model's test clips may serve
        check_calibration_data(checkpoint, clips.dataset, clips.fold, source, allow_seen=True)
    wanted = CalibrationSettings(
        calib_dataset=clips.dataset, calib_data=clips.data, calib_size=clips.calib_size
    )
    calibrating = calibration_clips(checkpoint.spec, source, wanted, clips, observer)
    if not accuracy:
        return calibrating, None
    rate = checkpoint.spec.sample_rate_hz
    return calibrating, load_clips(source.validation, "validation", rate, clips, observer)


def _measure(study: _Study, scratch: Path, observer: Observer) -> dict[str, Any]:
    """Quantize with what `export` quantizes with; the figures, and how they were made."""
    from gmme_calibration.sensitivity import measure_effects
    from gmme_edge.workflows.int8 import accuracy_on, calibration_of, make_probe
    from gmme_exporters.workshop import Workshop

    settings, refiner, validation = study.settings, study.refiner, study.validation
    calibration = calibration_of(study.clips, study.method, study.ranges_cache, refiner, observer)
    workshop = Workshop(scratch, settings.target, embedding=False, observer=observer)
    graph = workshop.float_graph(study.checkpoint.model, settings.precision, calibration)
    quantizer = workshop.quantizer(graph, settings.precision, calibration)
    n_samples = study.checkpoint.spec.n_samples
    accuracy = accuracy_on(validation, n_samples, settings.precision) if validation else None
    observer.stage(f"sensitivity of {settings.precision}")
    effects = measure_effects(
        make_probe(quantizer, study.clips, refiner.bias_correction),
        settings.layers,
        accuracy,
        lambda done, total: observer.progress("graphs", done, total),
    )
    return {
        "method": str(study.method),
        "bias_correction": refiner.bias_correction,
        "equalized": refiner.equalize,
        "accuracy_float": accuracy(quantizer.prepared) if accuracy else None,
        "n_validation": len(validation) if validation else 0,
        "calibration_sha256": study.clips.sha256,
        "effects": [effect.to_dict() for effect in effects],
    }
