"""Peak memory and time of calibration against the number of clips.

The tables stand in `docs/results/calibration.md`.

    python benchmarks/calibration_memory.py BUNDLE [--clips 16,128,1024] [--methods mean,entropy]

Each measurement is a process of its own, on noise of the bundle's length in a store on disk.
Peak memory is the kernel's high-water mark (VmHWM; Linux), everything included. The bundle's
fp32 graph is what is calibrated.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gmme_calibration.ranges import calibrate_ranges
from gmme_calibration.sample import Windows
from gmme_calibration.thresholds import Method
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.store import WaveformStore, end_to_end
from gmme_exporters.int8.qdq import OP_TYPES, prepare_int8


def measure(bundle: Path, n_clips: int, method: Method) -> str:
    """One row of the table: clips, method, peak in MiB, seconds, of the CPU in all and per clip."""
    n_samples = Bundle.open(bundle).manifest.model.n_samples
    with tempfile.TemporaryDirectory() as folder:
        prepared, samples = Path(folder) / "prepared.onnx", Path(folder) / "samples.f32"
        prepare_int8(bundle / "model.fp32.onnx", prepared)
        rng = np.random.default_rng(0)
        with samples.open("wb") as file:
            for _ in range(n_clips):
                rng.uniform(-0.5, 0.5, n_samples).astype("<f4").tofile(file)
        store = WaveformStore(
            np.memmap(samples, "<f4", "r"), end_to_end([n_samples] * n_clips),
            np.zeros(n_clips, np.int64), (Path("noise"),) * n_clips, (), (),
        )  # fmt: skip
        begun, cpu_begun = time.perf_counter(), time.process_time()
        windows = Windows(store, n_samples, tuple(range(n_clips)))
        calibrate_ranges(prepared, windows, OP_TYPES, method=method)
        elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    figures = f"{peak_kib / 1024:.0f} | {elapsed:.0f} | {cpu:.0f} | {1000 * cpu / n_clips:.0f}"
    return f"| {n_clips} | {method} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clips", default="16,128,1024")
    parser.add_argument("--methods", default="mean,entropy")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(options.bundle, int(options.clips), Method.parse(options.methods)))
        return
    names = "| clips | method | peak MiB | s | CPU s | CPU ms per clip |"
    print(f"{names}\n|---:|---|---:|---:|---:|---:|", flush=True)
    for method in options.methods.split(","):
        for n_clips in options.clips.split(","):
            arguments = [str(options.bundle), "--clips", n_clips, "--methods", method, "--one"]
            subprocess.run([sys.executable, __file__, *arguments], check=True)


if __name__ == "__main__":
    main()
