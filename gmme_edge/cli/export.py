"""`gmme-edge export`: a checkpoint to a bundle of ONNX files, INT8 included, and engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options import (
    CacheOption,
    FoldOption,
    JsonOption,
    OutputOption,
    SkipBadOption,
    load_clips,
)
from gmme_edge.errors import UsageError, require

if TYPE_CHECKING:
    from rich.console import Console

    from gmme_calibration.sample import CalibrationSet
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.runtime.bundle import Bundle
    from gmme_edge.spec import ModelSpec
    from gmme_exporters.bundle import Calibration, ExportOptions, Report
    from gmme_exporters.tensorrt import EngineOptions

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
        str | None, typer.Option(help="Data set whose training clips calibrate INT8.")
    ] = None,
    calib_data: Annotated[Path | None, typer.Option(help="That data set's folder.")] = None,
    calib_size: Annotated[int, typer.Option(min=1, help="Clips, shared out by class.")] = 128,
    calib_seed: int = 0,
    fold: FoldOption = None,
    engine: Annotated[
        str | None, typer.Option(help="Also build engines: tensorrt-rtx or tensorrt.")
    ] = None,
    sm: Annotated[
        str | None,
        typer.Option(help="GPU generations for tensorrt-rtx, e.g. 86,89,120; default: this GPU's."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Largest batch of the engines.")] = 8,
    opset: Annotated[int, typer.Option(help="13 to 22; 16 for TensorRT 8.")] = 18,
    embedding: Annotated[bool, typer.Option("--embedding/--no-embedding")] = True,
    max_error: Annotated[
        float | None, typer.Option(min=0, help="Limit of the relative error, every precision.")
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Random weights of a preset, for latency studies.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="With --untrained.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="With --untrained.")] = None,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Write every precision, check it against torch on real clips, and describe it all."""
    for module in ("torch", "safetensors", "onnx", "onnxscript"):
        require(module, "export", "export")
    require("onnxruntime", "quantize and check the exported graphs")
    from gmme_edge.cli.console import emit_json, stdout
    from gmme_exporters.bundle import ExportOptions, expand_precisions

    options = ExportOptions(
        expand_precisions(precision or ("fp32" if compact else "fp32,fp16")), opset, embedding,
        max_error, _engine_options(engine, sm, max_batch), compact,
    )  # fmt: skip
    checkpoint = _open(source, untrained, task, classes)
    if (calib_dataset is None) != (calib_data is None):
        raise UsageError("--calib-dataset and --calib-data belong together.", "both, or neither.")
    clips = None
    if calib_dataset and calib_data:
        clips = _calibration_clips(
            checkpoint.spec, calib_dataset, calib_data, fold, calib_size, calib_seed, cache,
            skip_bad,
        )  # fmt: skip
    bundle = run_export(checkpoint, output, options, clips, untrained)
    if json:
        emit_json(bundle.manifest.to_dict())
    else:
        describe_bundle(bundle, stdout)


def run_export(
    checkpoint: Checkpoint, output: Path, options: ExportOptions, clips: CalibrationSet | None,
    untrained: bool = False,
) -> Bundle:  # fmt: skip
    """Export under a live display; generated sounds stand in where no clips are given."""
    from gmme_exporters.bundle import export_bundle

    checked = clips or synthetic_clips(checkpoint.spec)
    calibrating = clips or (checked if untrained else None)
    with _display() as report:
        return export_bundle(
            checkpoint, output, options, checked.waveforms[:_PARITY_CLIPS],
            _calibration(calibrating, report) if calibrating else None, untrained, report,
        )  # fmt: skip


def describe_bundle(bundle: Bundle, console: Console) -> None:
    """Print how each precision compares with torch, and what the bundle holds."""
    from gmme_edge.cli.tables import parity_table

    console.print(parity_table(bundle.manifest.parity))
    engines = sum(file.role == "engine" for file in bundle.manifest.files)
    held = ", ".join(bundle.precisions) + (f", {engines} engines" if engines else "")
    console.print(f"{bundle.path}: {held}", soft_wrap=True)


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
    return untrained_checkpoint(spec, synthetic_clips(spec).waveforms)


def synthetic_clips(spec: ModelSpec) -> CalibrationSet:
    from gmme_calibration.sample import calibration_set
    from gmme_edge.data.synthetic import LABELS, make_synthetic

    store = make_synthetic(_SYNTHETIC_CLIPS_PER_CLASS, spec.sample_rate_hz, spec.n_samples)
    return calibration_set(store, LABELS, spec.n_samples, "synthetic", seed=0)


def _calibration_clips(
    spec: ModelSpec, dataset: str, data: Path, fold: int | None, size: int, seed: int,
    cache: Path | None, skip_bad: bool,
) -> CalibrationSet:  # fmt: skip
    from gmme_calibration.sample import calibration_set, sample_clips
    from gmme_edge.data.registry import open_dataset

    opened = open_dataset(dataset, data, fold)
    chosen = sample_clips(opened.select("train"), size, seed)
    store = load_clips(chosen, "calibration", spec.sample_rate_hz, cache, skip_bad)
    source = dataset if fold is None else f"{dataset}, all folds but {fold}"
    return calibration_set(store, opened.labels, spec.n_samples, f"{source}, train", seed)


def _calibration(clips: CalibrationSet, report: Report) -> Calibration:
    from gmme_calibration.ranges import METHOD, Ranges, calibrate_ranges
    from gmme_exporters.bundle import Calibration
    from gmme_exporters.int8 import OP_TYPES

    def ranges(prepared: Path) -> Ranges:
        return calibrate_ranges(
            prepared, clips.waveforms, OP_TYPES,
            on_progress=lambda done, total: report.progress("calibrate", done, total),
        )  # fmt: skip

    return Calibration(ranges, {**clips.to_dict(), "method": METHOD}, clips.sha256)


def _engine_options(
    engine: str | None, sm: str | None, max_batch: int
) -> tuple[EngineOptions, ...]:
    if engine is None:
        if sm is not None:
            raise UsageError("--sm is for --engine tensorrt-rtx.", "both, or neither.")
        return ()
    from gmme_exporters.tensorrt import EngineOptions

    if sm is None:
        return (EngineOptions(engine, max_batch=max_batch),)
    try:
        generations = [int(part) for part in sm.split(",")]
    except ValueError:
        raise UsageError(f"--sm {sm}", "numbers such as 86,89,120.") from None
    return tuple(EngineOptions(engine, number, max_batch=max_batch) for number in generations)


@contextmanager
def _display() -> Iterator[Report]:
    """A spinner that names the stage, and a bar where a stage can count."""
    from gmme_edge.cli.console import progress
    from gmme_exporters.bundle import Report

    with progress() as bar:
        stage = bar.add_task("export", total=None)
        steps = bar.add_task("", total=None, visible=False)

        def on_stage(name: str) -> None:
            bar.update(stage, description=name)
            bar.update(steps, visible=False)

        def on_progress(name: str, done: int, total: int) -> None:
            bar.update(
                steps, description=f"  {name}"[:40], completed=done, total=total, visible=True
            )

        yield Report(on_stage, on_progress)
