"""The graphs that exports and studies of INT8 start from, each made once in a scratch folder."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from gmme_edge.bundle.precisions import is_int8
from gmme_edge.models.eat import EAT
from gmme_edge.observer import SILENT, Observer
from gmme_exporters.graphs.export import DEFAULT_OPSET, export_onnx
from gmme_exporters.int8.qdq import Int8Precision, Quantizer, Ranges, prepare_int8
from gmme_exporters.int8.silence import align_silence
from gmme_exporters.lowering import targets
from gmme_exporters.options import Calibration


class Workshop:
    """Float32 graphs by what they are lowered for, and quantizers of them.

    Attributes:
        ranges: those found so far, by target; by precision where the network was equalised.
    """

    def __init__(
        self,
        folder: Path,
        target: str,
        opset: int = DEFAULT_OPSET,
        embedding: bool = True,
        observer: Observer = SILENT,
    ) -> None:
        folder.mkdir()
        self.folder, self.target, self.observer = folder, target, observer
        self.opset, self.embedding = opset, embedding
        self.ranges: dict[str, Ranges] = {}

    def float_graph(self, model: EAT, precision: str, calibration: Calibration | None) -> Path:
        """The float32 graph behind a precision, equalised for INT8 where that is asked for."""
        target = targets.target_of(precision, self.target)
        equalized = calibration and calibration.equalize and is_int8(precision)
        path = self.folder / f"{precision if equalized else target}.onnx"
        if path.exists():
            return path
        if calibration and calibration.equalize and equalized:
            self.observer.stage(f"equalize {precision}")
            model = calibration.equalize(model, precision)
        self.observer.stage(f"export to ONNX for {target}")
        export_onnx(targets.lower(model, target), path, self.opset, self.embedding)
        return path

    def quantizer(self, source: Path, precision: str, calibration: Calibration) -> Quantizer:
        """The quantizer of a `float_graph`, its constants aligned so that silence is exact."""
        prepared = source.with_suffix(".prepared.onnx")
        if source.stem not in self.ranges:
            self.observer.stage(f"calibrate {precision}")
            prepare_int8(source, prepared)
            self.ranges[source.stem] = calibration.ranges(prepared)
        plain = Quantizer(prepared, self.ranges[source.stem], cast(Int8Precision, precision))
        aligned = self.folder / f"{precision}.aligned.onnx"
        return align_silence(plain, aligned, plain.layers_of(calibration.floats))
