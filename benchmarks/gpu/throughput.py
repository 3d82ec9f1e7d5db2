"""Training on a GPU: clips per second of eager, compiled and graphed steps, and of a per-clip loop.

Usage: python benchmarks/gpu/throughput.py --output throughput.json --seconds 90

Synthetic sounds of the ESC-50 size, EAT's whole recipe with mixing, bfloat16. "graphs" replays the
network's forward and backward passes as CUDA graphs (`torch.cuda.make_graphed_callables`): what it
gains over "eager" is what starting kernels one by one costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from per_clip_loop import Clips, LoaderFeed
from training_throughput import SMALL

from gmme_edge.data.synthetic import LABELS, make_synthetic
from gmme_edge.files import write_json
from gmme_edge.spec import Task, preset
from gmme_edge.training.feed.spectra import stft_sizes
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.loop import Place, Trainer, TrainingData

_WAYS = ("eager", "graphs", "loop", "compile")  # compiling may take minutes


def make_trainer(network: str, way: str, options: argparse.Namespace, folder: Path) -> Trainer:
    factors = tuple(int(word) for word in options.factors.split(","))
    task = Task("esc50", options.rate, options.samples, factors, len(LABELS))
    spec = preset(f"eat-s-{network}", task, len(LABELS))
    if options.small:
        spec = replace(spec, backbone=SMALL)
    clips = make_synthetic(max(options.batch_size // 3, 4), options.rate, options.samples)
    recipe = Recipe(
        epochs=10_000,
        batch_size=options.batch_size,
        mixing_from_epoch=0,
        precision=options.precision,
        epsilon=1e-4,
        compile=way == "compile",
    )
    trainer = Trainer(
        spec, TrainingData(clips, None, LABELS, {}), recipe, folder, Place(options.device)
    )
    if way == "graphs":
        graph_network(trainer)
    if way == "loop":
        windows = Clips(clips, spec.n_samples, recipe, options.rate)
        sizes = stft_sizes(recipe, options.rate)
        loop = LoaderFeed(
            windows, recipe, sizes, options.batch_size, options.workers, trainer.device
        )
        loop.start(options.steps + 2)
        trainer.feed = loop  # type: ignore[assignment]
    return trainer


def graph_network(trainer: Trainer) -> None:
    """Replace the network's calls by replays; BatchNorm's statistics are put back after capture."""
    network = trainer.state.model
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    sample = torch.randn(trainer.batch_size, 1, trainer.spec.n_samples, device=trainer.device)
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        graphed = torch.cuda.make_graphed_callables(network.train(), (sample,))
    network.load_state_dict(kept)
    trainer.processes._network = graphed


def measure(network: str, way: str, options: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"network": network, "way": way, "batch": options.batch_size,
                           "precision": options.precision}  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(network, way, options, Path(folder))
            trainer._step()
            trainer._step()
            speeds = []
            for _ in range(options.steps):
                started = time.perf_counter()
                trainer._step()  # ends with reading the loss, so the device is done
                speeds.append(options.batch_size / (time.perf_counter() - started))
        row |= {"clips_per_s": median(speeds), "samples": speeds}
        if options.device == "cuda":
            row["peak_bytes"] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
    except Exception as error:  # one that fails must not cost the others
        row["left_out"] = f"{type(error).__name__}: {error}"[:600]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--networks", default="gmme-k32c8,aa")
    parser.add_argument("--ways", default=",".join(_WAYS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="bf16", choices=["32", "bf16"])
    parser.add_argument("--rate", type=int, default=16_000)
    parser.add_argument("--samples", type=int, default=81_920)
    parser.add_argument("--factors", default="4,4,4,4")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--small", action="store_true", help="a tiny network, to try this script")
    options = parser.parse_args()
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    deadline, rows = time.monotonic() + options.seconds, list[dict[str, Any]]()
    for way in options.ways.split(","):
        for network in options.networks.split(","):
            if time.monotonic() > deadline:
                rows.append({"network": network, "way": way, "left_out": "no time left"})
                continue
            rows.append(measure(network, way, options))
            write_json(options.output, {"schema": 1, "torch": torch.__version__, "rows": rows})
    for row in rows:
        print(row["network"], row["way"], row.get("left_out") or f"{row['clips_per_s']:.0f}/s")


if __name__ == "__main__":
    main()
