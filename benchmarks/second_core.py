"""What a second core can give a network on a CPU, and what a second thread takes of it.

    python benchmarks/second_core.py [--models …] [--tasks …] [--rounds 15] [-o FILE]

In every round, in turns, for the same time each: one process with one thread; one process with two
threads, which sleep or stay awake while they wait for each other; two processes with one thread
each, which share nothing but the machine. What the two processes do together is what two threads
could reach at best: where it is far from 2, the cores share more than a program can change (two
virtual cores may be one real one). Matrix products in float32 that fit into the cache stand beside
the networks: they share no memory bandwidth. Their threads are torch's, asleep and awake alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from gmme_edge.device.facts import describe_device
from gmme_edge.files import write_json
from gmme_edge.models.checkpoint import untrained_checkpoint
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.runtime.onnxruntime import open_graph
from gmme_edge.spec import preset
from gmme_edge.workflows.int8 import synthetic_clips
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.lowering.targets import lower

MODELS = ("aa", "gmme-k32c8", "gmme-lite-k32c8", "edge-gmme-lite-k32c8")
TASKS = ("esc50", "speech-commands")
PRODUCT = "100 products of 256 x 256"
SETUPS = {
    "one thread": (1, 1, False), "two threads, asleep": (1, 2, False),
    "two threads, awake": (1, 2, True), "two processes": (2, 1, False),
}  # fmt: skip
"""Processes, threads of each, and whether threads wait actively for each other during a call."""


def main() -> None:
    options = _options()
    cpu = describe_device()["cpu"]
    print(f"{cpu}; of one thread's calls per second, medians of {options.rounds} rounds (95 %)\n")
    names = ("one thread, calls/s", *list(SETUPS)[1:])
    print("| | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in {PRODUCT: None, **_graphs(options, Path(folder))}.items():
            rates = measure(path, options.rounds, options.seconds)
            row = {setup: paired_ratio(rates[setup], rates["one thread"]) for setup in rates}
            rows[name] = {"rates": rates, "of_one_thread": row}
            cells = [f"{np.median(rates['one thread']):.1f}"]
            cells += [f"{r:.2f} ({a:.2f}–{b:.2f})" for r, (a, b) in list(row.values())[1:]]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if options.output:
        write_json(options.output, {"device": describe_device(), "rows": rows})


def measure(path: Path | None, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Calls per second of each of `SETUPS`, one value per round; no path: the product."""
    context = multiprocessing.get_context("spawn")
    workers = []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, path), daemon=True)
        process.start()
        workers.append((process, here))
    for _, pipe in workers:
        pipe.recv()  # ready
    rates: dict[str, list[float]] = {setup: [] for setup in SETUPS}
    for _ in range(rounds):
        for setup, (n_processes, *kind) in SETUPS.items():
            busy = workers[:n_processes]
            for _, pipe in busy:
                pipe.send((tuple(kind), seconds))
            rates[setup].append(sum(pipe.recv() for _, pipe in busy))
    for process, pipe in workers:
        pipe.send(None)
        process.join()
    return rates


def _work(pipe: Connection, path: Path | None) -> None:
    calls = {tuple(kind): _call(path, *kind) for _, *kind in SETUPS.values()}
    for call in calls.values():
        call()
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        kind, seconds = order
        call, n_calls, start = calls[kind], 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            call()
            n_calls += 1
        pipe.send(n_calls / spent)


def _call(path: Path | None, threads: int, spins: bool) -> Callable[[], object]:
    if path is None:
        import torch

        def product(left: torch.Tensor, out: torch.Tensor) -> None:
            torch.set_num_threads(threads)
            for _ in range(100):
                torch.mm(left, left, out=out)

        return partial(product, torch.rand(256, 256), torch.empty(256, 256))
    clip = np.random.default_rng(0).standard_normal((1, _samples(path)), np.float32)
    return partial(open_graph(path, "fp32", threads, spins), clip)


def _samples(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])


def _graphs(options: argparse.Namespace, folder: Path) -> dict[str, Path]:
    found = {}
    for task in options.tasks:
        for model in options.models:
            spec = preset(f"eat-s-{model}", task)
            path = folder / f"{task}-{model}-{spec.n_samples}.onnx"
            network = untrained_checkpoint(spec, synthetic_clips(spec).waveforms[:]).model
            export_onnx(lower(network, "ort-cpu"), path, embedding=False)
            found[f"{model}, {task}"] = path
    return found


def _options() -> argparse.Namespace:
    def words(text: str) -> Sequence[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=words, default=MODELS)
    parser.add_argument("--tasks", type=words, default=TASKS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.error("this machine has one core.")
    return options


if __name__ == "__main__":
    main()
