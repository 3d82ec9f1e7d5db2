"""A training step's time by our gradients against torch's own, on a CPU.

    python benchmarks/training_gradients.py [--models aa,gmme-k32c8] [--rounds 9] [--threads 1]

Forward and backward pass of networks at a task's size, without optimizer and data. Both kinds
compute the same sums (tests/models/test_convolution.py), one after the other in random order in
every round. With one thread CPU time, so that other work on the machine matters less; with more
the clock's, since threads that wait for each other take CPU time too. Ratios pair the two of a
round.
"""

from __future__ import annotations

import argparse
import random
import time
from statistics import median
from unittest import mock

import torch

from gmme_edge.device.facts import describe_device
from gmme_edge.models import convolution
from gmme_edge.models.eat import EAT
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.spec import preset
from gmme_edge.training.run.allocator import keep_freed_memory

OURS, TORCHS = "ours", "torch's"


def step_s(network: EAT, waveform: torch.Tensor, gradients: str) -> float:
    """Seconds of one forward and backward pass."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    own = {OURS: convolution.own_gradients, TORCHS: lambda _: False}[gradients]
    network.zero_grad()
    with mock.patch.object(convolution, "own_gradients", own):
        started = clock()
        network(waveform).square().sum().backward()
        return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="aa,gmme-k32c8,gmme-lite-k32c8,edge-gmme-lite-k32c8")
    parser.add_argument("--task", default="esc50")
    parser.add_argument("--batch", type=int, default=8, help="clips in a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    print(f"{describe_device()['cpu']}; torch {torch.__version__}\n")
    what = f"{options.task}, batch {options.batch}, {options.threads} thread(s)"
    print(f"| {what} | {TORCHS}, s | {OURS}, s | times as fast |")
    print("|---|---:|---:|---:|")
    for name in options.models.split(","):
        spec = preset(f"eat-s-{name}", options.task)
        network = EAT(spec).train()
        waveform = torch.randn(options.batch, 1, spec.n_samples)
        taken: dict[str, list[float]] = {TORCHS: [], OURS: []}
        for number in range(options.rounds + 1):  # the first warms up
            for kind in random.sample(list(taken), k=2):
                seconds = step_s(network, waveform, kind)
                if number:
                    taken[kind].append(seconds)
        ratio, (low, high) = paired_ratio(taken[TORCHS], taken[OURS])
        columns = " | ".join(f"{median(samples):.2f}" for samples in taken.values())
        print(f"| {name} | {columns} | {ratio:.2f} ({low:.2f}–{high:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
