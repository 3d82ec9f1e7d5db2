"""Which ranges result: the lowest and highest value of every tensor over the calibration set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gmme_edge.audio import Waveform
from gmme_edge.errors import require
from gmme_edge.runtime.bundle import INPUT

Ranges = dict[str, tuple[float, float]]


def calibrate_ranges(
    model: Path,
    waveforms: Waveform,
    op_types: Sequence[str],
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """Run `waveforms` through a float32 graph and record every tensor's extremes.

    Memory does not grow with the number of clips: ONNX Runtime's MinMax calibrator reduces
    each tensor inside the graph and keeps two scalars per batch.

    Args:
        model: a graph from `gmme_exporters.int8.prepare_int8`.
        waveforms: shape ``(n, samples)``.
        op_types: operators whose inputs and outputs get a range.
    """
    calibrate = require("onnxruntime.quantization.calibrate", "calibrate INT8")
    with tempfile.TemporaryDirectory() as folder:
        calibrator = calibrate.create_calibrator(
            model, list(op_types), augmented_model_path=str(Path(folder) / "augmented.onnx")
        )
        for start in range(0, len(waveforms), batch_size):
            calibrator.collect_data(_OneBatch(waveforms[start : start + batch_size]))
            if on_progress:
                on_progress(min(start + batch_size, len(waveforms)), len(waveforms))
        found = calibrator.compute_data()
    return {
        name: (float(data.range_value[0].min()), float(data.range_value[1].max()))
        for name, data in found.items()
    }


class _OneBatch:
    """ONNX Runtime's reader protocol: each call the next input, then None."""

    def __init__(self, batch: Waveform) -> None:
        self._inputs: list[dict[str, Any]] = [{INPUT: batch}]

    def get_next(self) -> dict[str, Any] | None:
        return self._inputs.pop() if self._inputs else None
