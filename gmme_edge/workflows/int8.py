"""What calibrates INT8, for the commands that quantize: clips of a data set, and their ranges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.blocks import NOTHING
from gmme_edge.cli.options.common import load_clips

if TYPE_CHECKING:
    from gmme_calibration.sample import CalibrationSet
    from gmme_calibration.selection import Source
    from gmme_calibration.thresholds import Method
    from gmme_edge.cli.options.quantization import Refiner
    from gmme_edge.spec import ModelSpec
    from gmme_exporters.options import Calibration, Report


def calibration_clips(
    spec: ModelSpec, source: Source, size: int, seed: int, replayed: Path | None,
    cache: Path | None, skip_bad: bool,
) -> CalibrationSet:  # fmt: skip
    """`size` training clips of `source`; or, `replayed`, those that a file names."""
    from gmme_calibration.sample import calibration_set
    from gmme_calibration.selection import load_selection, refuse_held_out

    settings = source.labels, spec.n_samples, source.name
    if replayed:
        chosen = load_selection(replayed, source)
        store = load_clips(chosen.clips, "calibration", spec.sample_rate_hz, cache, skip_bad=False)
        clips = chosen.replay(store, source, spec.n_samples)
    else:
        candidates = source.candidates(size, seed)
        store = load_clips(candidates, "calibration", spec.sample_rate_hz, cache, skip_bad)
        clips = calibration_set(store, *settings, seed, size, source.root)
    refuse_held_out(clips, source)
    return clips


def calibration_of(
    clips: CalibrationSet, report: Report, method: Method | None, cache: Path | None,
    refiner: Refiner,
) -> Calibration:  # fmt: skip
    """How an exporter gets an equalised network, ranges and floating-point layers from `clips`.

    Args:
        cache: where the ranges are kept; nowhere if None.
    """
    from gmme_calibration.cache import cached_ranges, ranges_key
    from gmme_calibration.equalization import equalize
    from gmme_calibration.ranges import Ranges, calibrate_ranges
    from gmme_calibration.thresholds import Method
    from gmme_exporters.int8.qdq import OP_TYPES
    from gmme_exporters.options import Calibration

    method = method or Method()

    def ranges(prepared: Path) -> Ranges:
        def compute() -> Ranges:
            return calibrate_ranges(
                prepared, clips.waveforms, OP_TYPES,
                lambda done, total: report.progress("calibrate", done, total), method,
            )  # fmt: skip

        if cache is None:
            return compute()
        return cached_ranges(cache, ranges_key(prepared, clips.sha256, OP_TYPES, method), compute)

    return Calibration(
        ranges, {**clips.to_dict(), "method": str(method)}, clips.sha256,
        lambda quantizer: refiner.refine(quantizer, clips, report),
        (lambda model, flavour: equalize(model, clips.waveforms, flavour))
        if refiner.equalize else None,
        NOTHING if refiner.budget else refiner.floats,
    )  # fmt: skip
