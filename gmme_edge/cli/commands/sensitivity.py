"""`gmme-edge sensitivity`: what each block or layer loses when it is quantized."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options.common import (
    CacheOption,
    DataOption,
    DatasetOption,
    FoldOption,
    JsonOption,
    OutputOption,
    SkipBadOption,
)
from gmme_edge.errors import UsageError, require

if TYPE_CHECKING:
    from rich.table import Table

    from gmme_calibration.sample import CalibrationSet
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.observer import Observer
    from gmme_edge.workflows.int8 import Refiner
    from gmme_exporters.int8.qdq import Quantizer

BiasCorrectionOption = Annotated[
    bool | None,
    typer.Option(
        "--bias-correction/--no-bias-correction",
        help="Give back to biases what rounding shifts a channel by.  [default: yes]",
    ),
]
EqualizeOption = Annotated[
    bool | None,
    typer.Option(
        "--equalize/--no-equalize",
        help="Scale channels so that their ranges are alike.  "
        "[default: with --bias-correction, unless trained with --qat]",
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        help="What the graphs are shaped for: ort-cpu, ort-arm, tensorrt or generic.  "
        "[default: ort-cpu]"
    ),
]
_FLAVOURS = ("int8-ort", "int8-tensorrt")


def sensitivity(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint or a shipped model's name.")],
    dataset: DatasetOption,
    data: DataOption,
    output: OutputOption,
    fold: FoldOption = None,
    precision: Annotated[str, typer.Option(help="int8-ort or int8-tensorrt.")] = "int8-ort",
    layers: Annotated[bool, typer.Option("--layers", help="Per layer, not per block.")] = False,
    accuracy: Annotated[
        bool,
        typer.Option(
            "--accuracy/--no-accuracy", help="Also measure accuracy, on the validation clips."
        ),
    ] = True,
    calib_size: Annotated[int, typer.Option(min=1, help="Training clips for ranges.")] = 128,
    calib_method: Annotated[str, typer.Option(help="As for export.")] = "mean+std",
    bias_correction: BiasCorrectionOption = None,
    equalize: EqualizeOption = None,
    target: TargetOption = None,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Quantize every part alone, and all but it: noise of the logits, and accuracy."""
    for module in ("torch", "safetensors", "onnx", "onnxscript"):
        require(module, "export", "export")
    require("onnxruntime", "quantize and run graphs")
    if precision not in _FLAVOURS:
        raise UsageError(f"Unknown precision {precision!r}.", f"one of {', '.join(_FLAVOURS)}.")
    from gmme_calibration.selection import open_source
    from gmme_calibration.sensitivity import measure_effects
    from gmme_calibration.thresholds import Method
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.models.checkpoint import open_checkpoint
    from gmme_edge.workflows.clips import load_clips
    from gmme_edge.workflows.int8 import (
        accuracy_on,
        calibration_clips,
        make_probe,
        make_refiner,
    )
    from gmme_edge.workflows.settings.calibration import CalibrationSettings
    from gmme_edge.workflows.settings.clips import ClipSettings
    from gmme_edge.workflows.settings.int8 import Int8Settings

    method = Method.parse(calib_method)
    opened = open_checkpoint(checkpoint)
    refiner = make_refiner(
        opened, Int8Settings(bias_correction=bias_correction is not False, equalize=equalize)
    )
    source = open_source(dataset, data, fold, validate=accuracy)
    settings = CalibrationSettings(calib_dataset=dataset, calib_data=data, calib_size=calib_size)
    decoding = ClipSettings(cache=cache, skip_bad=skip_bad)
    validation = None
    with watch() as observer:
        clips = calibration_clips(opened.spec, source, settings, decoding, observer)
        if accuracy:
            validation = load_clips(
                source.validation, "validation", opened.spec.sample_rate_hz, decoding, observer
            )
    with watch() as report, tempfile.TemporaryDirectory() as folder:
        quantizer = _quantizer(
            opened, clips, precision, target or "ort-cpu", method, report, Path(folder), cache,
            refiner,
        )  # fmt: skip
        measure = accuracy_on(validation, opened.spec.n_samples, precision) if validation else None
        report.stage(f"sensitivity of {precision}")
        probe = make_probe(quantizer, clips, refiner.bias_correction)
        effects = measure_effects(
            probe, layers, measure, lambda done, total: report.progress("parts", done, total)
        )
        reference = measure(quantizer.prepared) if measure else None
    document = {
        "schema": 1, "kind": "sensitivity",
        "model": opened.spec.name, "precision": precision, "dataset": dataset,
        "fold": fold, "method": str(method), "bias_correction": refiner.bias_correction,
        "equalized": refiner.equalize,
        "accuracy_float": reference, "n_validation": len(validation) if validation else 0,
        "calibration_sha256": clips.sha256, "effects": [effect.to_dict() for effect in effects],
    }  # fmt: skip
    _write(output, document)
    if json:
        emit_json(document)
    else:
        stdout.print(_table(document))
        stdout.print(f"{output}: sensitivity.json, sensitivity.svg", soft_wrap=True)


def _quantizer(
    checkpoint: Checkpoint, clips: CalibrationSet, precision: str, target: str, method: Any,  # noqa: ANN401
    report: Observer, folder: Path, cache: Path | None, refiner: Refiner,
) -> Quantizer:  # fmt: skip
    from gmme_edge.data.store import default_cache
    from gmme_edge.workflows.int8 import calibration_of
    from gmme_exporters.graphs.export import DEFAULT_OPSET, export_onnx
    from gmme_exporters.int8.qdq import Quantizer, prepare_int8
    from gmme_exporters.int8.silence import align_silence
    from gmme_exporters.lowering.targets import lower, target_of

    report.stage("export to ONNX")
    source, prepared = folder / "model.onnx", folder / "prepared.onnx"
    calibration = calibration_of(clips, method, cache or default_cache(), refiner, report)
    model = checkpoint.model
    if calibration.equalize:
        model = calibration.equalize(model, precision)
    export_onnx(lower(model, target_of(precision, target)), source, DEFAULT_OPSET, False)
    prepare_int8(source, prepared)
    quantizer = Quantizer(prepared, calibration.ranges(prepared), precision)  # type: ignore[arg-type]
    return align_silence(quantizer, folder / "aligned.onnx")


def _write(folder: Path, document: dict[str, Any]) -> None:
    from gmme_edge.files import write_json, write_text
    from gmme_edge.report.render.sensitivity import draw_sensitivity_chart

    write_json(folder / "sensitivity.json", document)
    title = f"{document['model']}, {document['precision']}, {document['dataset']}"
    write_text(folder / "sensitivity.svg", draw_sensitivity_chart(title, document["effects"]))


def _table(document: dict[str, Any]) -> Table:
    from rich.table import Table

    from gmme_edge.report.render.sensitivity import in_db

    reference = document["accuracy_float"]
    caption = "alone: only this part is INT8; others: all but this part"
    if reference is not None:
        caption += f"; float32 {reference:.1%} of {document['n_validation']} validation clips"
    table = Table("part", caption=caption)
    for heading in ("MACs", "alone dB", "others dB", "alone", "others"):
        table.add_column(heading, justify="right")
    for effect in document["effects"]:
        accuracies = (effect["accuracy_alone"], effect["accuracy_others"])
        table.add_row(
            effect["part"], f"{effect['macs']:.1%}", in_db(effect["sqnr_alone_db"]),
            in_db(effect["sqnr_others_db"]),
            *("–" if value is None else f"{value:.1%}" for value in accuracies),
        )  # fmt: skip
    return table
