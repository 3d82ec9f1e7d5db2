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
from gmme_edge.cli.options.gates import MaxLatencyOption, MinAccuracyOption
from gmme_edge.cli.options.lowering import LoweringOption, TargetOption, chosen_target
from gmme_edge.cli.options.quantization import (
    BiasCorrectionOption,
    EqualizeOption,
    Int8FloatOption,
    MaxAccuracyDropOption,
    MaxFloatMacsOption,
    Refiner,
    check_limit,
    limit_drop,
    make_refiner,
)
from gmme_edge.cli.options.verdict import (
    AutoBackendOption,
    AutoOption,
    make_judge,
    verdict_settings,
)
from gmme_edge.cli.views.export import describe_bundle, export_display
from gmme_edge.errors import UsageError, require
from gmme_edge.workflows.int8 import calibration_clips, calibration_of

if TYPE_CHECKING:
    from gmme_calibration.sample import CalibrationSet
    from gmme_calibration.thresholds import Method
    from gmme_edge.bundle.bundle import Bundle, Manifest
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.spec import ModelSpec
    from gmme_exporters.options import ExportOptions, Report

_SYNTHETIC_CLIPS_PER_CLASS = 2
_PARITY_CLIPS = 32


def export(
    source: Annotated[
        str,
        typer.Argument(help="A checkpoint or a shipped model's name; with --untrained, a preset."),
    ],
    output: OutputOption,
    precision: Annotated[
        str | None,
        typer.Option(help="Of fp32, fp16, int8, comma-separated.  [default: fp32,fp16]"),
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
    min_accuracy: MinAccuracyOption = None,
    max_latency_p90_ms: MaxLatencyOption = None,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Write every precision, check it against torch on real clips, and describe it all."""
    for module in ("torch", "safetensors", "onnx", "onnxscript"):
        require(module, "export", "export")
    require("onnxruntime", "quantize and check the exported graphs")
    from gmme_calibration.selection import open_source, save_selection
    from gmme_calibration.thresholds import Method
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.data.store import default_cache
    from gmme_exporters.board.plan import JETSON_OPSET, check_plan, write_plan
    from gmme_exporters.graphs.export import DEFAULT_OPSET
    from gmme_exporters.options import ExportOptions, expand_precisions

    precisions = expand_precisions(
        precision or ("fp32,fp16,int8" if auto else "fp32" if compact else "fp32,fp16")
    )
    check_limit(max_accuracy_drop, int8_float, precisions, calib_dataset)
    verdict = verdict_settings(
        auto, max_accuracy_drop, auto_backend, min_accuracy, max_latency_p90_ms, precisions,
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
    )  # fmt: skip
    checkpoint = _open(source, untrained, task, classes)
    if (calib_dataset is None) != (calib_data is None):
        raise UsageError("--calib-dataset and --calib-data belong together.", "both, or neither.")
    method = Method.parse(calib_method)
    if calib_clips and (calib_size is not None or calib_seed is not None):
        raise UsageError("--calib-clips names the clips.", "no --calib-size and no --calib-seed.")
    if (calib_clips or save_calib_clips) and not calib_data:
        raise UsageError("Calibration clips without --calib-data.", "the folder they lie in.")
    clips = judge = clip_source = None
    if calib_dataset and calib_data:
        clip_source = open_source(
            calib_dataset, calib_data, fold, validate=auto or max_accuracy_drop is not None
        )
        clips = calibration_clips(
            checkpoint.spec, clip_source, calib_size or 128, calib_seed or 0, calib_clips, cache,
            skip_bad,
        )  # fmt: skip
        if verdict:
            where = {"dataset": calib_dataset, "fold": fold}
            judge = make_judge(verdict, checkpoint, clip_source, where, cache, skip_bad)
        if save_calib_clips:
            save_selection(clips, save_calib_clips)
    if bias_correction is None:
        bias_correction = max_accuracy_drop is not None
    refiner = make_refiner(checkpoint, bias_correction, equalize, int8_float)
    if max_accuracy_drop is not None and clip_source:
        refiner = limit_drop(
            refiner, checkpoint.spec, clip_source, max_accuracy_drop, max_float_macs, not auto,
            cache, skip_bad,
        )  # fmt: skip
    bundle = run_export(
        checkpoint, output, options, clips, untrained, method, cache or default_cache(), judge,
        refiner,
    )  # fmt: skip
    script = write_plan(bundle) if plan else None
    if json:
        emit_json(bundle.manifest.to_dict())
        return
    describe_bundle(bundle, stdout)
    if script:
        stdout.print(f"on the device: python3 {script.name}", soft_wrap=True)
        describe_trtexec(bundle, options.engines, stdout)


def run_export(
    checkpoint: Checkpoint, output: Path, options: ExportOptions, clips: CalibrationSet | None,
    untrained: bool = False, method: Method | None = None, cache: Path | None = None,
    judge: Callable[[Bundle, Report], Manifest] | None = None, refiner: Refiner | None = None,
) -> Bundle:  # fmt: skip
    """Export under a live display; generated sounds stand in where no clips are given.

    Args:
        cache: where the ranges of `clips` are kept; nowhere if None.
    """
    from gmme_exporters.bundle import export_bundle

    checked = clips or synthetic_clips(checkpoint.spec)
    calibrating = clips or (checked if untrained else None)
    with export_display() as report:
        return export_bundle(
            checkpoint, output, options, checked.waveforms[:_PARITY_CLIPS],
            calibration_of(
                calibrating, report, method, cache if clips else None, refiner or Refiner()
            ) if calibrating else None,
            untrained, report, judge,
        )  # fmt: skip


def _open(source: str, untrained: bool, task: str | None, classes: int | None) -> Checkpoint:
    from gmme_edge.models.checkpoint import open_checkpoint, untrained_checkpoint
    from gmme_edge.spec import preset

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


def synthetic_clips(spec: ModelSpec) -> CalibrationSet:
    from gmme_calibration.sample import calibration_set
    from gmme_edge.data.synthetic import LABELS, make_synthetic

    store = make_synthetic(_SYNTHETIC_CLIPS_PER_CLASS, spec.sample_rate_hz, spec.n_samples)
    return calibration_set(store, LABELS, spec.n_samples, "synthetic", seed=0)
