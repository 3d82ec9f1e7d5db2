"""Which ranges result: how low and how high every tensor goes on the calibration set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gmme_edge.audio import Waveform
from gmme_edge.errors import require
from gmme_edge.runtime.bundle import INPUT

Ranges = dict[str, tuple[float, float]]

METHOD = "mean over clips of each clip's extremes"


def calibrate_ranges(
    model: Path,
    waveforms: Waveform,
    op_types: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """The range of every tensor: the mean over clips of the clip's lowest and highest value.

    The extremes over all clips would follow the one loudest onset of the set and leave fewer of
    the 256 steps for everything else.

    ONNX Runtime's MinMax calibrator reduces each tensor inside the graph and keeps two scalars
    per tensor and clip, so memory hardly grows with the number of clips.

    Args:
        model: a graph from `gmme_exporters.int8.prepare_int8`.
        waveforms: shape ``(n, samples)``.
        op_types: operators whose inputs and outputs get a range.
    """
    calibrate = require("onnxruntime.quantization.calibrate", "calibrate INT8")
    with tempfile.TemporaryDirectory() as folder:
        calibrator = calibrate.create_calibrator(
            model, list(op_types), augmented_model_path=str(Path(folder) / "augmented.onnx"),
            extra_options={"moving_average": True},  # of one collection: the plain mean
        )  # fmt: skip
        calibrator.collect_data(_ClipByClip(waveforms, on_progress))
        found = calibrator.compute_data()
    return {
        name: (float(data.range_value[0].min()), float(data.range_value[1].max()))
        for name, data in found.items()
    }


class _ClipByClip:
    """ONNX Runtime's reader protocol: each call the next input, then None."""

    def __init__(self, waveforms: Waveform, on_progress: Callable[[int, int], None] | None) -> None:
        self._waveforms, self._on_progress, self._next = waveforms, on_progress, 0

    def get_next(self) -> dict[str, Any] | None:
        if self._on_progress and self._next:
            self._on_progress(self._next, len(self._waveforms))
        if self._next == len(self._waveforms):
            return None
        clip = self._waveforms[self._next : self._next + 1]
        self._next += 1
        return {INPUT: clip}
