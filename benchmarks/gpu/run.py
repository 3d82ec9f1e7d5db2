"""All that a GPU is needed for, in one call of bounded time; the next call continues it.

Usage: python benchmarks/gpu/run.py --data ESC-50-16k --out OUT [--previous PACKS] [--minutes 7.5]

1. `latency.py`: inference, ways and precisions, energy.
2. `throughput.py`: clips per second of training, against a per-clip loop.
3. `folds.py`: the trainings of docs/results/accuracy-protocol.md, with all the time that is left.
4. What comes back: ``OUT/*.json`` and at most four packs of 15 MiB, results first, then the states
   of unfinished runs, then the finished networks' weights. Pass the packs' folder as `--previous`
   next time.

Each part runs in a process of its own and within its own time: one that fails or hangs leaves the
others theirs. It needs the repository, its dependencies of `train` and `export`, and CUDA; with
`--tiny` it runs to its last line in a minute or two on any machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from packing import pack, unpack

HERE = Path(__file__).parent
PIECE_BYTES, PIECES = 15 << 20, 4
_PACK_S = 15.0
_DOCUMENTS = ("latency.json", "throughput.json")


def run_part(name: str, words: list[str], seconds: float) -> int:
    """One part, with some time to end by itself before it is ended."""
    started = time.monotonic()
    command = [
        sys.executable,
        "-u",
        str(HERE / f"{name}.py"),
        *words,
        "--seconds",
        f"{seconds:.0f}",
    ]
    print(f"== {name}, {seconds:.0f} s", flush=True)
    try:
        code = subprocess.run(command, check=False, timeout=seconds + 20).returncode
    except subprocess.TimeoutExpired:
        code = 124
    print(f"== {name} ended with {code} after {time.monotonic() - started:.0f} s", flush=True)
    return code


def list_for_packing(runs: Path) -> list[Path]:
    """Results, then unfinished states with what they need, then weights; least first in each."""

    def found(pattern: str) -> list[Path]:
        return sorted(runs.glob(pattern), key=lambda path: path.stat().st_size)

    results = [*found("*.json"), *found("*/*.json"), *found("*/*.jsonl")]
    finished = {path.parent for path in found("*/fold.json")}
    states = [p for p in found("*/training-state.safetensors") if p.parent not in finished]
    weights = [p for p in found("*/model.safetensors") if p.parent in finished]
    return [*dict.fromkeys([*results, *states, *weights])]


def tiny() -> dict[str, list[str]]:
    """Settings with which every part ends in seconds on a CPU."""
    size = ["--rate", "8000", "--samples", "8192", "--factors", "4,4,4"]
    return {
        "latency": ["--tasks", "speech-commands", "--precisions", "fp32", "--batches", "1",
                    "--repetitions", "2", "--no-compile"],
        "throughput": [*size, "--device", "cpu", "--small", "--batch-size", "4", "--steps", "2",
                       "--workers", "0", "--precision", "32", "--networks", "gmme-lite-k32c8",
                       "--ways", "eager,graphs,loop"],
        "folds": [*size, "--device", "cpu", "--epochs", "2", "--batch-size", "4", "--threads", "1",
                  "--precision", "32", "--networks", "aa,gmme-lite-k32c8", "--folds", "1,2"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="ESC-50's folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--previous", type=Path, help="the packs of an earlier call")
    parser.add_argument("--work", type=Path, help="for runs and decoded clips; default: OUT/runs")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--skip", default="", help="parts to leave out: latency,throughput")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    runs = options.work or options.out / "runs"
    if options.previous:
        unpack(options.previous, runs)
    extra = tiny() if options.tiny else {"latency": [], "throughput": [], "folds": []}
    share = 60 * options.minutes / 6
    for name in ("latency", "throughput"):
        if name not in options.skip.split(","):
            run_part(name, ["--output", str(options.out / f"{name}.json"), *extra[name]], share)
    left = max(deadline - time.monotonic() - _PACK_S, 1)
    words = ["--data", str(options.data), "--out", str(runs), "--parallel", str(options.parallel)]
    run_part("folds", [*words, *extra["folds"]], left)
    for path in runs.glob("*.json"):
        shutil.copy(path, options.out)
    packed, left_out = pack(runs, list_for_packing(runs), options.out, PIECE_BYTES, PIECES)
    print(f"packed {len(packed)} files; no room for {len(left_out)}")
    for path in left_out:
        print(f"  left: {path}")


if __name__ == "__main__":
    main()
