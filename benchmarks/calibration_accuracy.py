"""INT8's accuracy against the number of calibration clips, and against the method of ranges.

python benchmarks/calibration_accuracy.py digits speech-commands DATA [--fold 5] [--all-layers]

Validation clips judge; where a data set has none, training clips are held out as `export` does.
SQNR is clip by clip, of the logits around their mean: what ranges cut off, the loudest clips lose.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gmme_calibration.ranges import calibrate_ranges
from gmme_calibration.sample import calibration_set
from gmme_calibration.selection import open_source
from gmme_calibration.sensitivity import sqnr_db
from gmme_calibration.thresholds import METHODS, Method
from gmme_edge.data.store import WaveformStore, load_waveforms
from gmme_edge.evaluation import predict_store
from gmme_edge.models.checkpoint import open_checkpoint
from gmme_edge.runtime.onnxruntime import open_graph
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.int8.qdq import OP_TYPES, Quantizer, prepare_int8
from gmme_exporters.int8.silence import align_silence
from gmme_exporters.lowering.targets import lower, target_of

SIZES, USUAL = (16, 64, 256, 1024), 128


def main() -> None:
    options = _options()
    checkpoint = open_checkpoint(options.checkpoint)
    spec = checkpoint.spec
    source = open_source(options.dataset, options.data, options.fold, validate=True)
    validation = load_waveforms(source.validation, spec.sample_rate_hz)
    with tempfile.TemporaryDirectory() as folder:
        graph, prepared, aligned, target = (Path(folder) / f"{name}.onnx" for name in "gpat")
        network = lower(checkpoint.model, target_of("int8-ort", "ort-cpu"))
        export_onnx(network, graph, embedding=False)
        prepare_int8(graph, prepared)

        judge = judge_on(validation, spec.n_samples)
        exact = judge(prepared, "fp32")
        right = exact.argmax(axis=1) == validation.labels
        print(f"{options.checkpoint}: float32 {right.mean():.2%} of {len(validation)} clips")
        print("| clips | method | accuracy | flips | SQNR, dB: median | 5th percentile | worst |")
        print("|---:|---|---:|---:|---:|---:|---:|")
        # A size that the data set cannot give would be measured under a wrong name.
        sizes = [n for n in SIZES if n <= len(source.training)]
        for size, name in [*((n, Method().name) for n in sizes), *((USUAL, m) for m in METHODS)]:
            store = load_waveforms(source.candidates(size, 0), spec.sample_rate_hz)
            clips = calibration_set(
                store, source.labels, spec.n_samples, source.name, 0, size, source.root
            )
            ranges = calibrate_ranges(prepared, clips.waveforms, OP_TYPES, None, Method(name))
            plain = Quantizer(prepared, ranges, "int8-ort")
            floats = () if options.all_layers else plain.front
            align_silence(plain, aligned, floats).write(target, floats)
            found = judge(target, "int8-ort")
            flips = int((found.argmax(axis=1) != exact.argmax(axis=1)).sum())
            accuracy = (found.argmax(axis=1) == validation.labels).mean()
            sqnr = [sqnr_db(a, b) for a, b in zip(_logits(exact), _logits(found), strict=True)]
            median, low, worst = np.percentile(sqnr, [50, 5, 0])
            print(
                f"| {len(clips.waveforms)} | {name} | {accuracy:.2%} | {flips} "
                f"| {median:.1f} | {low:.1f} | {worst:.1f} |",
                flush=True,
            )


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Per clip around their mean, which probabilities do not tell."""
    logits = np.log(probabilities.clip(1e-30))
    return logits - logits.mean(axis=1, keepdims=True)


def judge_on(store: WaveformStore, n_samples: int) -> Callable[[Path, str], np.ndarray]:
    """An ONNX file and its precision → probabilities of `store`'s clips."""

    def judge(path: Path, precision: str) -> np.ndarray:
        return predict_store(open_graph(path, precision, threads=1), store, n_samples, batch_size=1)

    return judge


def parser_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkpoint")
    parser.add_argument("dataset")
    parser.add_argument("data", type=Path)
    parser.add_argument("--fold", type=int)
    return parser


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--all-layers", action="store_true", help="the front quantized as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
