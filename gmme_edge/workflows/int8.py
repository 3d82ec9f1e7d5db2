"""INT8, for every workflow that quantizes: clips, ranges, floating-point layers, biases."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gmme_calibration.cache import cached_ranges, ranges_key
from gmme_calibration.float_layers import Budget, FloatLayers, find_float_layers
from gmme_calibration.ranges import Ranges, calibrate_ranges
from gmme_calibration.sample import CalibrationSet, calibration_set
from gmme_calibration.selection import Source, load_selection, refuse_held_out
from gmme_calibration.sensitivity import Measure, Probe, noise_alone
from gmme_calibration.thresholds import Method
from gmme_edge.audio import Waveform
from gmme_edge.blocks import FRONT, NOTHING
from gmme_edge.data.dataset import count_reasons
from gmme_edge.data.seen import refuse_own_test
from gmme_edge.data.store import WaveformStore
from gmme_edge.data.synthetic import LABELS, make_synthetic
from gmme_edge.errors import AccuracyGateError, DatasetError
from gmme_edge.evaluation import predict_store
from gmme_edge.observer import SILENT, Observer
from gmme_edge.runtime.onnxruntime import open_graph
from gmme_edge.spec import ModelSpec
from gmme_edge.workflows.clips import load_clips
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_edge.workflows.settings.int8 import Int8Settings

if TYPE_CHECKING:  # these load torch
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_exporters.int8.qdq import Quantizer, Refinement
    from gmme_exporters.options import Calibration

_PROBE_CLIPS = 8  # correct biases and rank layers
_SYNTHETIC_CLIPS_PER_CLASS = 2


def calibration_clips(
    spec: ModelSpec,
    source: Source,
    settings: CalibrationSettings,
    decoding: ClipSettings | None = None,
    observer: Observer = SILENT,
) -> CalibrationSet:
    """Training clips of `source`: as many as the settings ask for, or those that a file names."""
    decoding = decoding or ClipSettings()
    rate = spec.sample_rate_hz
    if settings.calib_clips:
        selection = load_selection(settings.calib_clips, source)
        decoding = replace(decoding, skip_bad=False)
        store = load_clips(selection.clips, "calibration", rate, decoding, observer)
        clips = selection.replay(store, source, spec.n_samples)
    else:
        candidates = source.candidates(settings.size, settings.seed)
        store = load_clips(candidates, "calibration", rate, decoding, observer)
        clips = calibration_set(
            store,
            source.labels,
            spec.n_samples,
            source.name,
            settings.seed,
            settings.size,
            source.root,
        )
    refuse_held_out(clips, source)
    return replace(clips, left_out=count_reasons(source.left_out))


def check_calibration_data(
    checkpoint: Checkpoint, dataset: str, fold: int | None, source: Source, allow_seen: bool = False
) -> None:
    """Refuse labelled clips that a network should not be calibrated on.

    Raises:
        UsageError: the model's own test clips, unless `allow_seen`.
        DatasetError: not one of its classes is among the data set's.
    """
    refuse_own_test(checkpoint.origin, dataset, fold, source.training, allow_seen)
    if not set(source.labels) & set(checkpoint.labels):
        raise DatasetError(
            f"{dataset} has none of the model's classes ({', '.join(checkpoint.labels[:3])}, …).",
            "recordings like those that the model will hear.",
            "name the data set that it was trained on; or --calib-dataset unlabelled, where these "
            "recordings are what it will hear.",
        )


def synthetic_clips(spec: ModelSpec) -> CalibrationSet:
    """Generated sounds of a network's rate and length, where no recordings are given."""
    store = make_synthetic(_SYNTHETIC_CLIPS_PER_CLASS, spec.sample_rate_hz, spec.n_samples)
    return calibration_set(store, LABELS, spec.n_samples, "synthetic", seed=0)


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
    validation: WaveformStore | None = None

    def refine(
        self, quantizer: Quantizer, clips: CalibrationSet, observer: Observer = SILENT
    ) -> Refinement:
        """Raises `AccuracyGateError` where a strict budget cannot be met."""
        from gmme_exporters.int8.qdq import Refinement

        probe = make_probe(quantizer, clips, self.bias_correction)
        record = {}
        if self.budget:
            found = self._search(quantizer, probe, clips, observer)
            floats, record = found.chosen.floats, {"search": found.to_dict()}
        else:
            floats = quantizer.layers_of(self.floats)
        if self.bias_correction:
            observer.stage(f"correct biases of {quantizer.precision}")
        corrections = probe.corrections(
            floats, lambda done, n: observer.progress("correct biases", done, n)
        )
        return Refinement(floats, corrections, record)

    def _search(
        self, quantizer: Quantizer, probe: Probe, clips: CalibrationSet, observer: Observer
    ) -> FloatLayers:
        assert self.budget and self.validation
        n_samples = clips.waveforms.shape[1]
        accuracy = accuracy_on(self.validation, n_samples, quantizer.precision, observer)
        observer.stage(f"sensitivity of {quantizer.precision}")
        noise = noise_alone(probe, lambda done, n: observer.progress("layers", done, n))
        reference = accuracy(quantizer.prepared)
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "model.onnx"

            def drop_points(floats: tuple[str, ...]) -> float:
                observer.stage(f"{quantizer.precision}, {len(floats)} layers in floating point")
                probe.write(graph, floats)
                return round(100 * (reference - accuracy(graph)), 6)

            found = find_float_layers(quantizer.layers, noise, drop_points, self.budget)
        if self.strict and not found.met:
            raise _out_of_budget(quantizer.precision, found, len(self.validation))
        return found


def _out_of_budget(precision: str, found: FloatLayers, n_clips: int) -> AccuracyGateError:
    best, budget = found.chosen, found.budget
    return AccuracyGateError(
        f"{precision} loses {best.drop_points:.2f} points of accuracy on {n_clips} validation "
        f"clips with {len(best.floats)} layers ({best.float_macs:.1%} of the multiply-adds) in "
        f"floating point, the best of {len(found.trials)} trials. No bundle was written.",
        f"at most {budget.max_drop_points:g} points (--max-accuracy-drop) with at most "
        f"{budget.max_float_macs:.0%} in floating point (--max-float-macs).",
        "try --calib-method mse, allow more, or fine-tune with `train --qat`.",
    )


def make_refiner(
    checkpoint: Checkpoint, settings: Int8Settings, validation: WaveformStore | None = None
) -> Refiner:
    """What the settings ask for.

    Args:
        validation: the clips that a limited loss of accuracy is measured on.
    """
    trained_float = _trained_float(checkpoint)
    limited = settings.max_accuracy_drop is not None and validation is not None
    corrected = settings.bias_correction
    if corrected is None:
        corrected = limited
    equalize = settings.equalize
    if equalize is None:  # `--qat` taught it to bear the rounding of its channels as they are
        equalize = corrected and trained_float is None
    budget = None
    if limited:
        budget = Budget(settings.max_accuracy_drop or 0.0, settings.max_float_macs / 100)
    floats = settings.int8_float or trained_float or FRONT
    return Refiner(corrected, equalize, floats, budget, settings.strict, validation)


def _trained_float(checkpoint: Checkpoint) -> str | None:
    """What quantization-aware training left in floating point; None without it."""
    recipe = checkpoint.training.get("recipe", {})
    return str(recipe["qat_float"]) if recipe.get("qat", "off") != "off" else None


def calibration_of(
    clips: CalibrationSet,
    method: Method,
    cache: Path | None,
    refiner: Refiner,
    observer: Observer = SILENT,
) -> Calibration:
    """How an exporter gets an equalised network, ranges and floating-point layers from `clips`.

    Args:
        cache: where the ranges are kept; nowhere if None.
    """
    from gmme_calibration.equalization import equalize
    from gmme_exporters.int8.qdq import OP_TYPES
    from gmme_exporters.options import Calibration

    def ranges(prepared: Path) -> Ranges:
        def compute() -> Ranges:
            return calibrate_ranges(
                prepared,
                clips.waveforms,
                OP_TYPES,
                lambda done, total: observer.progress("calibrate", done, total),
                method,
            )

        if cache is None:
            return compute()
        return cached_ranges(cache, ranges_key(prepared, clips.sha256, OP_TYPES, method), compute)

    return Calibration(
        ranges=ranges,
        record={**clips.to_dict(), "method": str(method)},
        sha256=clips.sha256,
        refine=lambda quantizer: refiner.refine(quantizer, clips, observer),
        equalize=(lambda model, precision: equalize(model, clips.waveforms, precision))
        if refiner.equalize
        else None,
        floats=NOTHING if refiner.budget else refiner.floats,
    )


def make_probe(quantizer: Quantizer, clips: CalibrationSet, bias_correction: bool) -> Probe:
    """Corrects and compares on clips spread over the calibration set."""

    def run(path: Path, waveforms: Waveform) -> NDArray[np.float32]:
        graph = open_graph(path, quantizer.precision)
        return np.concatenate([graph(waveforms[i : i + 1]) for i in range(len(waveforms))])

    waveforms = clips.waveforms
    spread = np.unique(np.linspace(0, len(waveforms) - 1, _PROBE_CLIPS).astype(int))
    chosen = np.concatenate([waveforms[i : i + 1] for i in spread])
    return Probe(quantizer, run, chosen, bias_correction)


def accuracy_on(
    store: WaveformStore, n_samples: int, precision: str, observer: Observer = SILENT
) -> Measure:
    """The share of `store`'s clips whose class an ONNX file finds."""

    def accuracy(path: Path) -> float:
        graph = open_graph(path, precision)
        found = predict_store(
            graph,
            store,
            n_samples,
            batch_size=1,
            on_progress=lambda done, n: observer.progress("validate", done, n),
        )
        return float((found.argmax(axis=1) == store.labels).mean())

    return accuracy
