"""What equalisation and bias correction give back where every layer is quantized.

python benchmarks/int8_recovery.py digits speech-commands DATA [--fold 5] [--method mse]

Validation clips judge, as in `calibration_accuracy.py`; the first row is `export`'s default, whose
front stays in floating point. dB: SQNR of the probabilities.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path

from calibration_accuracy import judge_on, parser_of

from gmme_calibration.equalization import equalize
from gmme_calibration.ranges import calibrate_ranges
from gmme_calibration.selection import open_source
from gmme_calibration.sensitivity import sqnr_db
from gmme_calibration.thresholds import Method
from gmme_edge.cli.calibration import calibration_clips
from gmme_edge.cli.quantization_options import make_probe
from gmme_edge.data.store import load_waveforms
from gmme_edge.models.checkpoint import open_checkpoint
from gmme_edge.models.eat import EAT
from gmme_exporters.int8 import OP_TYPES, Quantizer, prepare_int8
from gmme_exporters.lowering.targets import lower, target_of
from gmme_exporters.onnx import export_onnx

HEADER = """\
| flavour | float | ranges | equalised | corrected | accuracy | flips | dB |
|---|---|---|---|---|---:|---:|---:|"""


def main() -> None:
    options = _options()
    checkpoint = open_checkpoint(options.checkpoint)
    spec = checkpoint.spec
    source = open_source(options.dataset, options.data, options.fold, validate=True)
    validation = load_waveforms(source.validation, spec.sample_rate_hz)
    clips = calibration_clips(spec, source, 128, 0, None, None, False)

    judge = judge_on(validation, spec.n_samples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = folder / "int8.onnx"
        exact = judge(_prepare(checkpoint.model, folder), "fp32")
        right = (exact.argmax(axis=1) == validation.labels).mean()
        print(f"{options.checkpoint}: float32 {right:.2%} of {len(validation)} clips")
        print(HEADER)
        for flavour, equalized in product(("int8-ort", "int8-tensorrt"), (False, True)):
            model = checkpoint.model
            if equalized:
                model = equalize(model, clips.waveforms, flavour)
            prepared = _prepare(lower(model, target_of(flavour, "ort-cpu")), folder)
            for front in (False,) if equalized else (True, False):
                method = "mean" if front else options.method
                ranges = calibrate_ranges(
                    prepared, clips.waveforms, OP_TYPES, None, Method.parse(method)
                )
                quantizer = Quantizer(prepared, ranges, flavour)
                for corrected in (False,) if front else (False, True):
                    probe = make_probe(quantizer, clips, corrected)
                    probe.write(target, quantizer.front if front else ())
                    found = judge(target, flavour)
                    accuracy = (found.argmax(axis=1) == validation.labels).mean()
                    flips = int((found.argmax(axis=1) != exact.argmax(axis=1)).sum())
                    marks = "front" if front else "–", method, *map(_yes, (equalized, corrected))
                    figures = f"{accuracy:.2%} | {flips} | {sqnr_db(exact, found):.1f}"
                    print(f"| {flavour} | {' | '.join(marks)} | {figures} |", flush=True)


def _prepare(model: EAT, folder: Path) -> Path:
    export_onnx(model, folder / "model.onnx", embedding=False)
    prepare_int8(folder / "model.onnx", folder / "prepared.onnx")
    return folder / "prepared.onnx"


def _yes(done: bool) -> str:
    return "yes" if done else "no"


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--method", default="mse", help="ranges where nothing stays in float")
    return parser.parse_args()


if __name__ == "__main__":
    main()
