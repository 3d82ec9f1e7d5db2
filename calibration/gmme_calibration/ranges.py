"""Which ranges result: how low and how high every tensor goes on the calibration set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import calibrate

from gmme_calibration.sample import Windows
from gmme_calibration.thresholds import BINS, Histogram, Method
from gmme_edge.audio import Waveform
from gmme_edge.bundle.bundle import INPUT
from gmme_edge.errors import CheckpointError

Ranges = dict[str, tuple[float, float]]


def calibrate_ranges(
    model: Path,
    waveforms: Waveform | Windows,
    op_types: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
    method: Method | None = None,
) -> Ranges:
    """The range of every tensor; by default the clips' extremes on average, and a deviation more.

    The mean alone (``mean``) cuts off every second clip's peaks, and the loudest clips lose the
    most; the extremes over all clips (``minmax``) follow the one loudest onset of the set and
    leave fewer of the 256 steps for everything else.

    Clips run one by one through the graphs that ONNX Runtime's calibrators make. Of each only
    two scalars per tensor are kept, and for the methods that need it, in a second run, a
    histogram per tensor. The calibrators' own collectors of values keep every activation of every
    clip, and their MinMax passes over NaN.

    Args:
        model: a graph from `gmme_exporters.int8.qdq.prepare_int8`.
        waveforms: shape ``(n, samples)``.
        op_types: operators whose inputs and outputs get a range.
        method: from a tensor's values to its range; `Method()` if None.

    Raises:
        CheckpointError: a tensor that is NaN or infinite on a clip.
    """
    method = method or Method()
    n_clips = len(waveforms)
    total = n_clips * (2 if method.needs_histograms else 1)
    progress = on_progress or (lambda done, total: None)
    names, extremes = _collect_extremes(
        model, waveforms, op_types, lambda done: progress(done, total)
    )
    ends = _ends(extremes, method)
    ranges = {
        name: (float(low), float(high)) for name, (low, high) in zip(names, ends, strict=True)
    }
    if not method.needs_histograms:
        return ranges
    histograms = _collect_histograms(
        model, waveforms, op_types, ranges, lambda done: progress(n_clips + done, total)
    )
    return {name: method.range_of(histogram) for name, histogram in histograms.items()}


def _ends(extremes: NDArray[np.float32], method: Method) -> NDArray[np.float64]:
    """A range per tensor, shape ``(tensors, 2)``, from every clip's, ``(n, tensors, 2)``."""
    widest = np.stack([extremes[..., 0].min(axis=0), extremes[..., 1].max(axis=0)], axis=1)
    if method.name not in ("mean", "mean+std"):
        return widest.astype(np.float64)
    ends: NDArray[np.float64] = extremes.mean(axis=0, dtype=np.float64)
    if method.name == "mean+std":
        ends += extremes.std(axis=0, dtype=np.float64) * [-1, 1]
    return ends.clip(widest[:, :1], widest[:, 1:])


def _collect_extremes(
    model: Path,
    waveforms: Waveform | Windows,
    op_types: Sequence[str],
    progress: Callable[[int], None],
) -> tuple[list[str], NDArray[np.float32]]:
    """Tensor names, and per clip and tensor its lowest and highest value: ``(n, tensors, 2)``."""
    session = _calibration_session(model, op_types, "MinMax")
    outputs = [output.name for output in session.get_outputs()]
    names = [name.removesuffix("_ReduceMin") for name in outputs if name.endswith("_ReduceMin")]
    reduced = [f"{name}_{end}" for name in names for end in ("ReduceMin", "ReduceMax")]
    # The network's own outputs as well: a NaN that a reduction passes over reaches them.
    wanted = reduced + [name for name in outputs if name not in set(reduced)]
    extremes = np.empty((len(waveforms), len(names), 2), np.float32)
    for i in range(len(waveforms)):
        values = session.run(wanted, {INPUT: waveforms[i : i + 1]})
        for name, value in zip(wanted, values, strict=True):
            _check_finite(name.removesuffix("_ReduceMin").removesuffix("_ReduceMax"), value, i)
        extremes[i] = np.concatenate(values[: len(reduced)]).reshape(-1, 2)
        progress(i + 1)
    return names, extremes


def _collect_histograms(
    model: Path,
    waveforms: Waveform | Windows,
    op_types: Sequence[str],
    extremes: Ranges,
    progress: Callable[[int], None],
) -> dict[str, Histogram]:
    """Every tensor's values over all clips, counted in bins that span its `extremes`."""
    session = _calibration_session(model, op_types, "Entropy")
    counts = {name: np.zeros(BINS, np.int64) for name in extremes}
    for i in range(len(waveforms)):
        values = session.run(list(extremes), {INPUT: waveforms[i : i + 1]})
        for name, value in zip(extremes, values, strict=True):
            _check_finite(name, value, i)
            counts[name] += count_in_bins(value, max(map(abs, extremes[name])))
        progress(i + 1)
    return {name: Histogram(counts[name], *extremes[name]) for name in extremes}


def count_in_bins(values: NDArray[np.float32], magnitude: float) -> NDArray[np.int64]:
    """How many `values` fall into each of `BINS` bins from ``-magnitude`` to ``magnitude``."""
    scaled = values.ravel() / np.float32(magnitude or 1.0)  # first, or a subnormal one overflows
    positions = ((scaled + 1) * np.float32(BINS / 2)).astype(np.intp)
    return np.bincount(np.clip(positions, 0, BINS - 1), minlength=BINS)


def _calibration_session(
    model: Path, op_types: Sequence[str], kind: str
) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session on the graph that its calibrator of this kind makes of `model`."""
    with tempfile.TemporaryDirectory() as folder:
        calibrator = calibrate.create_calibrator(
            model,
            list(op_types),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=calibrate.CalibrationMethod[kind],
        )
        return calibrator.infer_session


def _check_finite(name: str, values: NDArray[np.float32], clip: int) -> None:
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"The tensor {name} is NaN or infinite on calibration clip {clip}.",
            "a network whose activations are finite.",
            "train it again with a lower learning rate, or export another checkpoint.",
        )
