"""What each rewrite of `ort-cpu` gains: one more at a time, in their order, one thread.

python benchmarks/lowering_ablation.py [--rounds 30] [--tasks esc50,speech-commands]

Random weights, batch 1, FP32, interleaved like `cpu_latency.py`; the ratio is to the row before.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from cpu_latency import TASKS, interleave

from gmme_edge.models.checkpoint import untrained_checkpoint
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.runtime.onnxruntime import open_graph
from gmme_edge.spec import preset
from gmme_edge.workflows.int8 import synthetic_clips
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.lowering.targets import rewrites_of

MODELS = ("aa", "gmme-k32c8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=TASKS)
    options = parser.parse_args()
    calls = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks:
            for model in MODELS:
                spec = preset(f"eat-s-{model}", task)
                network = untrained_checkpoint(spec, synthetic_clips(spec).waveforms[:]).model
                clip = np.random.default_rng(0).standard_normal((1, spec.n_samples), np.float32)
                lowered = copy.deepcopy(network).eval()
                for rewrite in (None, *rewrites_of("ort-cpu")):
                    name = rewrite.__name__ if rewrite else "plain"
                    if rewrite:
                        rewrite(lowered)
                    path = Path(folder) / f"{task}-{model}-{name}.onnx"
                    export_onnx(lowered, path, embedding=False)
                    key = f"{task}, {model}", name
                    calls[key] = partial(open_graph(path, "fp32", threads=1), clip)
        samples = interleave(calls, options.rounds)
    print("| | rewrite | ms | gain over the row before |\n|---|---|---:|---:|")
    before = None
    for network_name, rewrite_name in calls:
        key = network_name, rewrite_name
        gain = "–"
        if before and before[0] == network_name:
            ratio, (low, high) = paired_ratio(samples[before], samples[key])
            gain = f"{ratio:.2f} ({low:.2f}–{high:.2f})"
        print(f"| {network_name} | {rewrite_name} | {median(samples[key]):.1f} | {gain} |")
        before = key


if __name__ == "__main__":
    main()
