"""The options of `export` that say what INT8 may cost, and what they mean to a quantizer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.blocks import FRONT
from gmme_edge.cli.options.common import load_clips
from gmme_edge.errors import AccuracyGateError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gmme_calibration.float_layers import Budget, FloatLayers
    from gmme_calibration.sample import CalibrationSet
    from gmme_calibration.selection import Source
    from gmme_calibration.sensitivity import Measure, Probe
    from gmme_edge.audio import Waveform
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.spec import ModelSpec
    from gmme_exporters.int8.qdq import Quantizer, Refinement
    from gmme_exporters.options import Report

_PANEL = "INT8"
_PROBE_CLIPS = 8  # correct biases and rank layers

MaxAccuracyDropOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Points of accuracy that INT8 may lose on validation clips of --calib-dataset: the "
        "fewest layers that this takes stay in floating point. Exit code 6 where it cannot be.",
        rich_help_panel=_PANEL,
    ),
]
MaxFloatMacsOption = Annotated[
    float,
    typer.Option(
        min=0, max=100, help="Percent of the multiply-adds that may stay in floating point then.",
        rich_help_panel=_PANEL,
    ),
]  # fmt: skip
Int8FloatOption = Annotated[
    str | None,
    typer.Option(
        help="Blocks that stay in floating point: front, none, or such as stem,stage1.0.  "
        "[default: those of `train --qat`, else front]",
        rich_help_panel=_PANEL,
    ),
]
BiasCorrectionOption = Annotated[
    bool | None,
    typer.Option(
        "--bias-correction/--no-bias-correction",
        help="Give back to biases what rounding shifts a channel by on calibration clips.  "
        "[default: with --max-accuracy-drop]",
        rich_help_panel=_PANEL,
    ),
]
EqualizeOption = Annotated[
    bool | None,
    typer.Option(
        "--equalize/--no-equalize",
        help="Scale channels so that their ranges are alike; the network's function stays.  "
        "[default: with --bias-correction, unless trained with --qat]",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, eq=False)
class Refiner:
    """Chooses the layers left in floating point, and corrects biases.

    Attributes:
        equalize: whether the network is equalised first.
        floats: the blocks left in floating point where there is no budget.
        budget: None to measure nothing.
        strict: raise where the budget cannot be met; otherwise take what loses least.
        validation: clips that neither calibrate nor test; needed where there is a budget.
    """

    bias_correction: bool = False
    equalize: bool = False
    floats: str = FRONT
    budget: Budget | None = None
    strict: bool = True
    spec: ModelSpec | None = None
    validation: WaveformStore | None = None

    def refine(self, quantizer: Quantizer, clips: CalibrationSet, report: Report) -> Refinement:
        """Raises `AccuracyGateError` where a strict budget cannot be met."""
        from gmme_exporters.int8.qdq import Refinement

        probe = make_probe(quantizer, clips, self.bias_correction)
        record = {}
        if self.budget:
            found = self._search(quantizer, probe, report)
            floats, record = found.chosen.floats, {"search": found.to_dict()}
        else:
            floats = quantizer.layers_of(self.floats)
        if self.bias_correction:
            report.stage(f"correct biases of {quantizer.precision}")
        return Refinement(floats, probe.corrections(floats), record)

    def _search(self, quantizer: Quantizer, probe: Probe, report: Report) -> FloatLayers:
        from gmme_calibration.float_layers import find_float_layers
        from gmme_calibration.sensitivity import noise_alone

        assert self.budget and self.spec and self.validation
        accuracy = accuracy_on(self.validation, self.spec, quantizer.precision, report)
        report.stage(f"sensitivity of {quantizer.precision}")
        noise = noise_alone(probe, lambda done, n: report.progress("layers", done, n))
        reference = accuracy(quantizer.prepared)
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "model.onnx"

            def drop_points(floats: tuple[str, ...]) -> float:
                report.stage(f"{quantizer.precision}, {len(floats)} layers in floating point")
                probe.write(graph, floats)
                return round(100 * (reference - accuracy(graph)), 6)

            found = find_float_layers(quantizer.layers, noise, drop_points, self.budget)
        if self.strict and not found.met:
            raise _out_of_budget(quantizer.precision, found, len(self.validation))
        return found


def _out_of_budget(flavour: str, found: FloatLayers, n_clips: int) -> AccuracyGateError:
    best, budget = found.chosen, found.budget
    return AccuracyGateError(
        f"{flavour} loses {best.drop_points:.2f} points of accuracy on {n_clips} validation clips "
        f"with {len(best.floats)} layers ({best.float_macs:.1%} of the multiply-adds) in floating "
        f"point, the best of {len(found.trials)} trials.",
        f"at most {budget.max_drop_points:g} points (--max-accuracy-drop) with at most "
        f"{budget.max_float_macs:.0%} in floating point (--max-float-macs).",
        "try --calib-method mse, allow more, or fine-tune with `train --qat`. No bundle was "
        "written.",
    )


def check_limit(
    max_accuracy_drop: float | None, int8_float: str | None, precisions: tuple[str, ...],
    dataset: str | None,
) -> None:  # fmt: skip
    """Raise `UsageError` where there is no INT8 to limit, or nothing to measure its loss on."""
    if int8_float is not None and max_accuracy_drop is not None:
        raise UsageError(
            "--int8-float with --max-accuracy-drop.", "one of them: the limit's search chooses."
        )
    int8 = any(precision.startswith("int8") for precision in precisions)
    if int8_float is not None and not int8:
        raise UsageError("--int8-float without INT8.", "int8 among --precision.")
    if max_accuracy_drop is not None and not (int8 and dataset):
        raise UsageError(
            "--max-accuracy-drop without INT8, or without clips to measure it on.",
            "int8 among --precision; --calib-dataset and --calib-data of a labelled data set.",
        )


def make_refiner(
    checkpoint: Checkpoint, bias_correction: bool, equalize: bool | None,
    int8_float: str | None = None,
) -> Refiner:  # fmt: skip
    """What the options ask for where no drop is limited."""
    trained_float = _trained_float(checkpoint)
    if equalize is None:  # `--qat` taught it to bear the rounding of its channels as they are
        equalize = bias_correction and trained_float is None
    return Refiner(bias_correction, equalize, int8_float or trained_float or FRONT)


def limit_drop(
    refiner: Refiner, spec: ModelSpec, source: Source, max_accuracy_drop: float,
    max_float_macs: float, strict: bool, cache: Path | None, skip_bad: bool,
) -> Refiner:  # fmt: skip
    """The same with a budget; decodes the validation clips."""
    from gmme_calibration.float_layers import Budget

    validation = load_clips(source.validation, "validation", spec.sample_rate_hz, cache, skip_bad)
    budget = Budget(max_accuracy_drop, max_float_macs / 100)
    return replace(refiner, budget=budget, strict=strict, spec=spec, validation=validation)


def _trained_float(checkpoint: Checkpoint) -> str | None:
    """What quantization-aware training left in floating point; None without it."""
    recipe = checkpoint.training.get("recipe", {})
    return str(recipe["qat_float"]) if recipe.get("qat", "off") != "off" else None


def make_probe(quantizer: Quantizer, clips: CalibrationSet, bias_correction: bool) -> Probe:
    """Corrects and compares on clips spread over the calibration set."""
    import numpy as np

    from gmme_calibration.sensitivity import Probe
    from gmme_edge.runtime.onnxruntime import open_graph

    def run(path: Path, waveforms: Waveform) -> NDArray[np.float32]:
        graph = open_graph(path, quantizer.precision)
        return np.concatenate([graph(waveforms[i : i + 1]) for i in range(len(waveforms))])

    waveforms = clips.waveforms
    spread = np.unique(np.linspace(0, len(waveforms) - 1, _PROBE_CLIPS).astype(int))
    chosen = np.concatenate([waveforms[i : i + 1] for i in spread])
    return Probe(quantizer, run, chosen, bias_correction)


def accuracy_on(
    store: WaveformStore, spec: ModelSpec, precision: str, report: Report | None = None
) -> Measure:
    """The share of `store`'s clips whose class an ONNX file finds."""
    from gmme_edge.evaluation import predict_store
    from gmme_edge.runtime.onnxruntime import open_graph

    def accuracy(path: Path) -> float:
        found = predict_store(
            open_graph(path, precision), store, spec.n_samples, batch_size=1,
            on_progress=(lambda done, n: report.progress("validate", done, n)) if report else None,
        ).argmax(axis=1)  # fmt: skip
        return float((found == store.labels).mean())

    return accuracy
