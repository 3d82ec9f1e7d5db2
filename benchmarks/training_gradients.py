"""A training step's time by our gradients against torch's own, on a CPU.

    python benchmarks/training_gradients.py [--models aa,gmme-k32c8] [--rounds 9] [--bf16]

Forward and backward pass of networks at a task's size, without optimizer and data. Both kinds
compute the same sums (tests/models/test_convolution.py), one after the other in random order in
every round; with --bf16 also under autocast to bfloat16. With one thread CPU time, so that other
work on the machine matters less; with more (--threads) the clock's, since threads that wait for
each other take CPU time too. Ratios pair those of a round.
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

OURS, TORCHS, BF16 = "ours", "torch's", "bfloat16"


def step_s(network: EAT, waveform: torch.Tensor, kind: str) -> float:
    """Seconds of one forward and backward pass."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    own = convolution.own_gradients if OURS in kind else lambda _: False
    network.zero_grad()
    with mock.patch.object(convolution, "own_gradients", own):
        started = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16 in kind):
            output = network(waveform)
        output.float().square().sum().backward()
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
    parser.add_argument("--bf16", action="store_true", help="time bfloat16 as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    print(f"{describe_device()['cpu']}; torch {torch.__version__}\n")
    kinds = [TORCHS, OURS]
    if options.bf16:
        kinds += [f"{kind}, {BF16}" for kind in kinds]
    what = f"{options.task}, batch {options.batch}, {options.threads} thread(s)"
    print(f"| {what} | " + " | ".join(f"{kind}, s" for kind in kinds), end=" | ")
    print(" | ".join(f"{kind}, times as fast" for kind in kinds[1:]) + " |")
    print("|---" + "|---:" * (2 * len(kinds) - 1) + "|")
    for name in options.models.split(","):
        spec = preset(f"eat-s-{name}", options.task)
        network = EAT(spec).train()
        waveform = torch.randn(options.batch, 1, spec.n_samples)
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(options.rounds + 1):  # the first warms up
            for kind in random.sample(kinds, k=len(kinds)):
                seconds = step_s(network, waveform, kind)
                if number:
                    taken[kind].append(seconds)
        columns = [name, *(f"{median(samples):.2f}" for samples in taken.values())]
        for kind in kinds[1:]:
            ratio, (low, high) = paired_ratio(taken[TORCHS], taken[kind])
            columns.append(f"{ratio:.2f} ({low:.2f}–{high:.2f})")
        print("| " + " | ".join(columns) + " |", flush=True)


if __name__ == "__main__":
    main()
