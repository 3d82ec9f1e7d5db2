"""`gmme-edge export`: a checkpoint to a bundle of ONNX files, INT8 included, and engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import (
    CacheOption,
    FoldOption,
    JsonOption,
    OutputOption,
    SkipBadOption,
)
from gmme_edge.cli.options.engines import (
    CompatibilityOption,
    DlaCoreOption,
    EngineOption,
    MaxBatchOption,
    MinBatchOption,
    OptBatchOption,
    OptimizationLevelOption,
    SmOption,
    TimingCacheOption,
    VersionCompatibleOption,
    WorkspaceOption,
    describe_trtexec,
    engine_options,
)
from gmme_edge.cli.options.gates import MaxLatencyOption
from gmme_edge.cli.options.lowering import LoweringOption, TargetOption, chosen_target
from gmme_edge.cli.options.quantization import (
    BiasCorrectionOption,
    EqualizeOption,
    Int8FloatOption,
    MaxAccuracyDropOption,
    MaxFloatMacsOption,
)
from gmme_edge.cli.options.signature import with_options
from gmme_edge.cli.options.verdict import (
    AutoBackendOption,
    AutoOption,
    make_judge,
    verdict_settings,
)
from gmme_edge.cli.views.export import describe_bundle, refuse_partial
from gmme_edge.cli.views.observer import watch
from gmme_edge.errors import UsageError, require
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_edge.workflows.settings.evaluating import AccuracyGate
from gmme_edge.workflows.settings.int8 import Int8Settings

if TYPE_CHECKING:
    from gmme_calibration.sample import CalibrationSet
    from gmme_calibration.thresholds import Method
    from gmme_edge.bundle.bundle import Bundle, Manifest
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.observer import Observer
    from gmme_edge.workflows.int8 import Refiner
    from gmme_exporters.options import ExportOptions

_PARITY_CLIPS = 32


@with_options
def export(
    source: Annotated[
        str,
        typer.Argument(help="A checkpoint or a shipped model's name; with --untrained, a preset."),
    ],
    output: OutputOption,
    gate: AccuracyGate,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of fp32, fp16, int8 (int8-ort and int8-tensorrt), comma-separated.  "
            "[default: fp32,fp16]"
        ),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Make one small folder of bundle and checkpoint: weights in float16, stored once. "
            "Precision: fp32, unless others are named as well.",
        ),
    ] = False,
    calib_dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set whose training clips calibrate INT8; unlabelled for any recordings."
        ),
    ] = None,
    calib_data: Annotated[Path | None, typer.Option(help="Its folder, or CSV file.")] = None,
    calib_size: Annotated[
        int | None,
        typer.Option(min=1, help="Clips, shared out by class and level.  [default: 128]"),
    ] = None,
    calib_seed: Annotated[int | None, typer.Option(min=0, help="[default: 0]")] = None,
    calib_method: Annotated[
        str,
        typer.Option(help="Ranges: mean+std, mean, minmax, percentile[:P], entropy or mse."),
    ] = "mean+std",
    calib_clips: Annotated[
        Path | None,
        typer.Option(help="Calibrate on exactly the clips that this calibration.json names."),
    ] = None,
    save_calib_clips: Annotated[
        Path | None, typer.Option(help="Write the names and hashes of the clips to this file.")
    ] = None,
    fold: FoldOption = None,
    engine: EngineOption = None,
    sm: SmOption = None,
    min_batch: MinBatchOption = 1,
    opt_batch: OptBatchOption = None,
    max_batch: MaxBatchOption = 8,
    workspace_mib: WorkspaceOption = None,
    optimization_level: OptimizationLevelOption = None,
    timing_cache: TimingCacheOption = None,
    compatibility: CompatibilityOption = "none",
    version_compatible: VersionCompatibleOption = False,
    dla_core: DlaCoreOption = None,
    target: TargetOption = None,
    lowering: LoweringOption = True,
    opset: Annotated[
        int | None,
        typer.Option(help="13 to 22; 16 for TensorRT 8.  [default: 18; for --plan jetson 16]"),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="jetson: add the script that builds, checks and times it on the board."),
    ] = None,
    embedding: Annotated[bool, typer.Option("--embedding/--no-embedding")] = True,
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Limit of the relative error, every precision.")
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Random weights of a preset, for latency studies.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="With --untrained.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="With --untrained.")] = None,
    auto: AutoOption = False,
    auto_backend: AutoBackendOption = "ort-cpu",
    max_accuracy_drop: MaxAccuracyDropOption = None,
    max_float_macs: MaxFloatMacsOption = 10,
    int8_float: Int8FloatOption = None,
    bias_correction: BiasCorrectionOption = None,
    equalize: EqualizeOption = None,
    max_latency_p90_ms: MaxLatencyOption = None,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace another model's bundle. Files that are no bundle's stay in any case.",
        ),
    ] = False,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Calibrate on the model's own test clips all the same."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write every precision, check it against torch on real clips, and describe it all."""
    for module in ("torch", "safetensors", "onnx", "onnxscript"):
        require(module, "export", "export")
    require("onnxruntime", "quantize and check the exported graphs")
    from gmme_calibration.selection import UNLABELLED, open_source, save_selection
    from gmme_calibration.thresholds import Method
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.data.store import default_cache
    from gmme_edge.ownership import claim_bundle
    from gmme_edge.pretrained import resolve
    from gmme_edge.workflows.clips import load_clips
    from gmme_edge.workflows.int8 import (
        calibration_clips,
        check_calibration_data,
        make_refiner,
    )
    from gmme_exporters.board.plan import JETSON_OPSET, PAGE, SCRIPT, check_plan, write_plan
    from gmme_exporters.graphs.export import DEFAULT_OPSET
    from gmme_exporters.options import ExportOptions, expand_precisions

    precisions = expand_precisions(
        precision or ("fp32,fp16,int8" if auto else "fp32" if compact else "fp32,fp16")
    )
    decoding = ClipSettings(cache=cache, skip_bad=skip_bad)
    method = Method.parse(calib_method)
    calibration = CalibrationSettings(
        calib_dataset=calib_dataset, calib_data=calib_data, calib_size=calib_size,
        calib_seed=calib_seed, calib_method=calib_method, calib_clips=calib_clips,
        save_calib_clips=save_calib_clips, fold=fold,
    )  # fmt: skip
    int8 = Int8Settings(
        max_accuracy_drop=max_accuracy_drop, max_float_macs=max_float_macs,
        int8_float=int8_float, bias_correction=bias_correction, equalize=equalize, strict=not auto,
    )  # fmt: skip
    _check_limit(max_accuracy_drop, int8_float, precisions, calib_dataset)
    verdict = verdict_settings(
        auto, max_accuracy_drop, auto_backend, gate.min_accuracy, max_latency_p90_ms, precisions,
        measurable=calib_dataset is not None and not untrained,
    )  # fmt: skip
    if plan:
        check_plan(plan, precisions)
    options = ExportOptions(
        precisions, opset or (JETSON_OPSET if plan else DEFAULT_OPSET), embedding,
        max_error,
        engine_options(
            engine, sm, (min_batch, opt_batch, max_batch), workspace_mib, optimization_level,
            timing_cache, compatibility, version_compatible, dla_core,
        ),
        compact, chosen_target(target, lowering, plan),
        untrained, None if untrained else resolve(source), force,
    )  # fmt: skip
    checkpoint = _open(source, untrained, task, classes)
    planned = (SCRIPT, PAGE) if plan else ()
    writes = (*options.writes, *planned)
    claim_bundle(output, options.source, checkpoint.sha256, writes, force)
    clips = judge = validation = None
    if calib_dataset and calib_data:
        clip_source = open_source(
            calib_dataset, calib_data, fold, validate=auto or max_accuracy_drop is not None
        )
        if calib_dataset != UNLABELLED and not untrained:
            check_calibration_data(
                checkpoint, calib_dataset, fold, clip_source, allow_seen=allow_seen
            )
        with watch() as observer:
            clips = calibration_clips(checkpoint.spec, clip_source, calibration, decoding, observer)
            if verdict:
                where = {"dataset": calib_dataset, "fold": fold}
                judge = make_judge(verdict, checkpoint, clip_source, where, decoding, observer)
            if max_accuracy_drop is not None:
                validation = load_clips(
                    clip_source.validation, "validation", checkpoint.spec.sample_rate_hz,
                    decoding, observer,
                )  # fmt: skip
        if save_calib_clips:
            save_selection(clips, save_calib_clips)
    refiner = make_refiner(checkpoint, int8, validation)
    bundle = run_export(
        checkpoint, output, options, clips, untrained, method, cache or default_cache(), judge,
        refiner,
    )  # fmt: skip
    if plan:
        script = write_plan(bundle)
        bundle = Bundle.open(output)
    else:
        script = None
    if json:
        emit_json(bundle.manifest.to_dict())
        refuse_partial(bundle)
        return
    describe_bundle(bundle, stdout)
    if script:
        stdout.print(f"on the device: python3 {script.name}", soft_wrap=True)
    describe_trtexec(bundle, options.engines, stdout)
    refuse_partial(bundle)


def run_export(
    checkpoint: Checkpoint, output: Path, options: ExportOptions, clips: CalibrationSet | None,
    untrained: bool = False, method: Method | None = None, cache: Path | None = None,
    judge: Callable[[Bundle, Observer], Manifest] | None = None, refiner: Refiner | None = None,
) -> Bundle:  # fmt: skip
    """Export under a live display; generated sounds stand in where no clips are given.

    Args:
        cache: where the ranges of `clips` are kept; nowhere if None.
    """
    from gmme_calibration.thresholds import Method
    from gmme_edge.workflows.int8 import Refiner, calibration_of, synthetic_clips
    from gmme_exporters.bundle import export_bundle

    checked = clips or synthetic_clips(checkpoint.spec)
    calibrating = clips or (checked if untrained else None)
    with watch() as observer:
        calibration = calibrating and calibration_of(
            calibrating, method or Method(), cache if clips else None, refiner or Refiner(),
            observer,
        )  # fmt: skip
        return export_bundle(
            checkpoint, output, options, checked.waveforms[:_PARITY_CLIPS], calibration,
            observer, judge,
        )  # fmt: skip


def _open(source: str, untrained: bool, task: str | None, classes: int | None) -> Checkpoint:
    from gmme_edge.models.checkpoint import open_checkpoint, untrained_checkpoint
    from gmme_edge.spec import preset
    from gmme_edge.workflows.int8 import synthetic_clips

    if not untrained:
        if task or classes:
            raise UsageError(
                "--task and --classes are for --untrained; a checkpoint knows its own."
            )
        return open_checkpoint(source)
    if task is None:
        raise UsageError("--untrained needs a --task.", "esc50, urbansound8k or speech-commands.")
    spec = preset(source, task, classes)
    return untrained_checkpoint(spec, synthetic_clips(spec).waveforms[:])


def _check_limit(
    max_accuracy_drop: float | None, int8_float: str | None, precisions: tuple[str, ...],
    dataset: str | None,
) -> None:  # fmt: skip
    """Raise `UsageError` where there is no INT8 to limit, or nothing to measure its loss on."""
    int8 = any(precision.startswith("int8") for precision in precisions)
    if int8_float is not None and not int8:
        raise UsageError("--int8-float without INT8.", "int8 among --precision.")
    if max_accuracy_drop is not None and not (int8 and dataset):
        raise UsageError(
            "--max-accuracy-drop without INT8, or without clips to measure it on.",
            "int8 among --precision; --calib-dataset and --calib-data of a labelled data set.",
        )
