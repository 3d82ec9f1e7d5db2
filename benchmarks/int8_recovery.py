"""What equalisation, aligned silence and bias correction give back where layers are quantized.

python benchmarks/int8_recovery.py digits speech-commands DATA [--fold 5] [--method mse]

Validation clips judge, as in `calibration_accuracy.py`; the second row is `export`'s default, whose
front stays in floating point. dB: SQNR of the probabilities, of the graph and of the same graph
without the rounding of activations, which is the most that a better rounding of weights could give.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import onnx
from calibration_accuracy import judge_on, parser_of

from gmme_calibration.equalization import equalize
from gmme_calibration.ranges import calibrate_ranges
from gmme_calibration.selection import open_source
from gmme_calibration.sensitivity import sqnr_db
from gmme_calibration.thresholds import Method
from gmme_edge.data.store import load_waveforms
from gmme_edge.models.checkpoint import open_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.workflows.int8 import calibration_clips, make_probe
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.int8.qdq import OP_TYPES, Int8Precision, Quantizer, prepare_int8
from gmme_exporters.int8.silence import align_silence
from gmme_exporters.lowering.targets import lower, target_of

PRECISIONS: tuple[Int8Precision, ...] = ("int8-ort", "int8-tensorrt")

HEADER = """\
| flavour | float | ranges | equalised | aligned | corrected | accuracy | flips | dB | weights, dB |
|---|---|---|---|---|---|---:|---:|---:|---:|"""


@dataclass(frozen=True)
class Variant:
    front: bool = False
    equalized: bool = False
    aligned: bool = False
    corrected: bool = False


VARIANTS = (
    Variant(front=True), Variant(front=True, aligned=True), Variant(), Variant(aligned=True),
    Variant(corrected=True), Variant(aligned=True, corrected=True),
    Variant(equalized=True, corrected=True),
    Variant(equalized=True, aligned=True, corrected=True),
)  # fmt: skip


def main() -> None:
    options = _options()
    checkpoint = open_checkpoint(options.checkpoint)
    spec = checkpoint.spec
    source = open_source(options.dataset, options.data, options.fold, validate=True)
    validation = load_waveforms(source.validation, spec.sample_rate_hz)
    clips = calibration_clips(spec, source, CalibrationSettings())

    judge = judge_on(validation, spec.n_samples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target, weights_alone = folder / "int8.onnx", folder / "weights.onnx"
        exact = judge(_prepare(checkpoint.model, folder / "exact"), "fp32")
        right = (exact.argmax(axis=1) == validation.labels).mean()
        print(f"{options.checkpoint}: float32 {right:.2%} of {len(validation)} clips")
        print(HEADER)

        @cache
        def quantizer_of(precision: Int8Precision, equalized: bool, method: str) -> Quantizer:
            model = checkpoint.model
            if equalized:
                model = equalize(model, clips.waveforms, precision)
            network = lower(model, target_of(precision, "ort-cpu"))
            prepared = _prepare(network, folder / f"{precision} {equalized}")
            ranges = calibrate_ranges(
                prepared, clips.waveforms, OP_TYPES, None, Method.parse(method)
            )
            return Quantizer(prepared, ranges, precision)

        for precision, variant in product(PRECISIONS, VARIANTS):
            if variant.aligned and not variant.front and precision == "int8-ort":
                continue  # nothing is shifted there
            method = "mean" if variant.front else options.method
            quantizer = quantizer_of(precision, variant.equalized, method)
            floats = quantizer.front if variant.front else ()
            if variant.aligned:
                quantizer = align_silence(quantizer, folder / "aligned.onnx", floats)
            make_probe(quantizer, clips, variant.corrected).write(target, floats)
            found = judge(target, precision)
            accuracy = (found.argmax(axis=1) == validation.labels).mean()
            flips = int((found.argmax(axis=1) != exact.argmax(axis=1)).sum())
            marks = (variant.equalized, variant.aligned, variant.corrected)
            figures = f"{accuracy:.2%} | {flips} | {sqnr_db(exact, found):.1f}"
            if any(marks):
                figures += " | –"
            else:
                _round_weights_alone(target, weights_alone)
                figures += f" | {sqnr_db(exact, judge(weights_alone, precision)):.1f}"
            place = "front" if variant.front else "–"
            row = " | ".join((precision, place, method, *map(_yes, marks), figures))
            print(f"| {row} |", flush=True)


def _prepare(model: EAT, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    export_onnx(model, folder / "model.onnx", embedding=False)
    prepare_int8(folder / "model.onnx", folder / "prepared.onnx")
    return folder / "prepared.onnx"


def _round_weights_alone(source: Path, target: Path) -> None:
    """The graph without the Q/DQ pairs of activations."""
    proto = onnx.load(source)
    constants = {tensor.name for tensor in proto.graph.initializer}
    exact = {
        node.output[0]: node.input[0]
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    }
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in exact:
            inputs = [exact[node.input[0]]]
            node.CopyFrom(onnx.helper.make_node("Identity", inputs, node.output, name=node.name))
    onnx.save(proto, target)


def _yes(done: bool) -> str:
    return "yes" if done else "no"


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--method", default="mse", help="ranges where nothing stays in float")
    return parser.parse_args()


if __name__ == "__main__":
    main()
