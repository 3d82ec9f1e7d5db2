"""A checkpoint to a bundle: graphs of every precision, INT8 included, engines and a verdict.

export(
    "my-checkpoint",
    ExportSettings(
        bundle=BundleSettings(output=Path("my-bundle"), precision="fp32,int8"),
        calibration=CalibrationSettings(calib_dataset="folder", calib_data=Path("sounds")),
    ),
)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.destinations import refuse_unwritable
from gmme_edge.errors import GateError, require
from gmme_edge.models.description import check_present
from gmme_edge.observer import SILENT, Observer
from gmme_edge.ownership import bundle_folder, claim_bundle
from gmme_edge.pretrained import resolve
from gmme_edge.public import public
from gmme_edge.settings import command_line
from gmme_edge.workflows.engines import engine_options, trtexec_lines
from gmme_edge.workflows.outlets import check_models, check_page, write_page, write_triton
from gmme_edge.workflows.settings.export import BundleSettings, ExportSettings

if TYPE_CHECKING:  # these load torch
    from gmme_calibration.sample import CalibrationSet
    from gmme_calibration.selection import Source
    from gmme_calibration.thresholds import Method
    from gmme_edge.bundle.bundle import Manifest
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.spec import ModelSpec
    from gmme_edge.workflows.int8 import Refiner
    from gmme_exporters.options import ExportOptions
    from gmme_exporters.tensorrt.build import EngineOptions

    Judge = Callable[[Bundle, Observer], Manifest]

_PARITY_CLIPS = 32


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes:
        left_out: by precision, why it is not in the bundle.
        script: what measures the bundle on a board, where a plan was asked for.
        trtexec: per TensorRT engine the command line that builds its like.
        page: what a web server serves, where one was asked for.
        models: the newest versions in a Triton repository, where one was asked for.
    """

    bundle: Bundle
    left_out: dict[str, str]
    script: Path | None = None
    trtexec: tuple[str, ...] = ()
    page: Path | None = None
    models: tuple[Path, ...] = ()


@public
def export(source: str | Path, settings: ExportSettings, observer: Observer = SILENT) -> Exported:
    """Write the bundle, or nothing: every precision is checked against torch on real clips.

    Args:
        source: a checkpoint, a shipped model's name or, with `untrained`, a preset.

    Raises:
        GmmeEdgeError: see the exception's kind; what was at the output before is still there.
    """
    from gmme_edge.workflows.judging import check_backend

    engines, asked = engine_options(settings.engines), settings.bundle
    if settings.verdict.auto:
        check_backend(settings.verdict.auto_backend)
    found = None if asked.untrained else resolve(source)
    if found:
        check_present(found)  # wrong paths are told before torch is loaded
    bundle_folder(asked.output, found)
    refuse_unwritable(settings.calibration.save_calib_clips)
    check_page(settings.web)
    require_exporters(observer)
    from gmme_calibration.thresholds import Method
    from gmme_exporters.board.plan import PAGE, SCRIPT, check_plan, write_plan

    check_models(settings)
    method = Method.parse(settings.calibration.calib_method)
    if asked.plan:
        check_plan(asked.plan, settings.precisions)
    checkpoint = _open(source, asked)
    options = _make_options(source, settings, engines, checkpoint.spec)
    writes = (*options.writes, *((SCRIPT, PAGE) if asked.plan else ()))
    if note := settings.lowering.rounded_hop(checkpoint.spec):
        observer.note(note)
    claim_bundle(asked.output, options.source, checkpoint.sha256, writes, asked.force)
    material = _gather(checkpoint, settings, method, observer)
    bundle = write_bundle(checkpoint, asked.output, options, material, observer)
    script = None
    if asked.plan:
        script = write_plan(bundle)
        bundle = Bundle.open(asked.output)
    left_out: dict[str, str] = bundle.manifest.provenance.get("left_out", {})
    page, models = write_page(bundle, settings.web), write_triton(bundle, settings.triton)
    return Exported(bundle, left_out, script, trtexec_lines(bundle, engines), page, models)


def _make_options(
    source: str | Path,
    settings: ExportSettings,
    engines: tuple[EngineOptions, ...],
    spec: ModelSpec,
) -> ExportOptions:
    from gmme_exporters.board.plan import JETSON_OPSET
    from gmme_exporters.graphs.export import DEFAULT_OPSET
    from gmme_exporters.options import ExportOptions

    asked = settings.bundle
    usual_opset = JETSON_OPSET if asked.plan else DEFAULT_OPSET
    return ExportOptions(
        precisions=settings.precisions,
        opset=usual_opset if asked.opset is None else asked.opset,
        embedding=asked.embedding,
        max_error=asked.max_error,
        engines=engines,
        compact=asked.compact,
        target=settings.lowering.chosen(asked.plan),
        incremental_hop_samples=settings.lowering.incremental_hop_samples(spec),
        untrained=asked.untrained,
        source=None if asked.untrained else resolve(source),
        force=asked.force,
        command=command_line("export", [source], settings),
    )


def require_exporters(observer: Observer) -> None:
    """Load the libraries that exports need; raises `MissingDependencyError` where one is absent."""
    observer.stage("load PyTorch")
    for module in ("torch", "safetensors", "onnx", "onnxscript"):
        require(module, "export", "export")
    require("onnxruntime", "quantize and check the exported graphs")


@dataclass(frozen=True, eq=False)
class Material:
    """The recordings of an export, and what is done with them.

    Attributes:
        clips: they calibrate INT8, and every precision is checked on them; None for generated
            sounds, on which only untrained networks are calibrated.
        ranges_cache: where the ranges of `clips` are kept; nowhere if None.
        refiner: None for the defaults.
    """

    clips: CalibrationSet | None = None
    method: Method | None = None
    ranges_cache: Path | None = None
    refiner: Refiner | None = None
    judge: Judge | None = None


def write_bundle(
    checkpoint: Checkpoint,
    output: Path,
    options: ExportOptions,
    material: Material,
    observer: Observer = SILENT,
) -> Bundle:
    """The last step of `export`, for those who have the network and the clips in hand."""
    from gmme_calibration.thresholds import Method
    from gmme_edge.workflows.int8 import Refiner, calibration_of, synthetic_clips
    from gmme_exporters.bundle import export_bundle

    checked = material.clips or synthetic_clips(checkpoint.spec)
    calibration = None
    if material.clips or options.untrained:
        calibration = calibration_of(
            checked,
            material.method or Method(),
            material.ranges_cache if material.clips else None,
            material.refiner or Refiner(),
            observer,
        )
    return export_bundle(
        checkpoint,
        output,
        options,
        checked.waveforms[:_PARITY_CLIPS],
        calibration,
        observer,
        material.judge,
    )


def _open(source: str | Path, asked: BundleSettings) -> Checkpoint:
    from gmme_edge.models.checkpoint import open_checkpoint, untrained_checkpoint
    from gmme_edge.spec import preset
    from gmme_edge.workflows.int8 import synthetic_clips

    if not asked.untrained:
        opened = open_checkpoint(source)
        return opened.with_data_license(asked.data_license) if asked.data_license else opened
    assert asked.task
    spec = preset(str(source), asked.task, asked.classes)
    return untrained_checkpoint(spec, synthetic_clips(spec).waveforms[:])


def _gather(
    checkpoint: Checkpoint, settings: ExportSettings, method: Method, observer: Observer
) -> Material:
    from gmme_calibration.selection import UNLABELLED, open_source, save_selection
    from gmme_edge.data.store import default_cache
    from gmme_edge.workflows.clips import load_clips
    from gmme_edge.workflows.int8 import (
        calibration_clips,
        check_calibration_data,
        make_refiner,
    )

    wanted, decoding = settings.calibration, settings.clips
    int8 = replace(settings.int8, strict=not settings.verdict.auto)
    cache = decoding.cache or default_cache()
    if not (wanted.calib_dataset and wanted.calib_data):
        return Material(None, method, cache, make_refiner(checkpoint, int8))
    source = open_source(
        wanted.calib_dataset, wanted.calib_data, wanted.fold, settings.measures_accuracy, observer
    )
    if wanted.calib_dataset != UNLABELLED and not settings.bundle.untrained:
        check_calibration_data(
            checkpoint, wanted.calib_dataset, wanted.fold, source, wanted.allow_seen
        )
    clips = calibration_clips(checkpoint.spec, source, wanted, decoding, observer)
    judge = _make_judge(checkpoint, source, settings, observer) if settings.verdict.auto else None
    validation: WaveformStore | None = None
    if int8.max_accuracy_drop is not None:
        rate = checkpoint.spec.sample_rate_hz
        validation = load_clips(source.validation, "validation", rate, decoding, observer)
    if wanted.save_calib_clips:
        save_selection(clips, wanted.save_calib_clips)
    refiner = make_refiner(checkpoint, int8, validation)
    return Material(clips, method, cache, refiner, judge)


def _make_judge(
    checkpoint: Checkpoint, source: Source, settings: ExportSettings, observer: Observer
) -> Judge:
    """Decode the validation clips; returns what judges a bundle before it is put in its place."""
    from gmme_edge.workflows.clips import check_labels
    from gmme_edge.workflows.judging import call_jury, judge_by

    wanted = settings.calibration
    assert wanted.calib_dataset
    where = {"dataset": wanted.calib_dataset, "fold": wanted.fold}
    check_labels(wanted.calib_dataset, source.labels, "the checkpoint", checkpoint.labels)
    jury = call_jury(checkpoint.spec, source, where, settings.clips, observer)
    judging = settings.verdict.judging(settings.int8.max_accuracy_drop)

    def judge(bundle: Bundle, observer: Observer) -> Manifest:
        try:
            judgement = judge_by(jury, bundle, judging, observer)
        except GateError as error:
            got = f"{error.got} No bundle was written."
            raise type(error)(got, error.expected, error.fix) from error
        return replace(bundle.manifest, verdict=judgement.document)

    return judge
