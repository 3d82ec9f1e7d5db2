"""Train all folds of several networks on one GPU, several at once, and stop in time.

Usage: python benchmarks/gpu/folds.py --data ESC-50-16k --out RUNS --seconds 300

The protocol is docs/results/accuracy-protocol.md. A network and a fold are one run in a process of
its own; `--parallel` of them share the GPU. At the deadline those that go on save their state,
bit for bit, and a later call continues them. Nothing is watched while it trains: test clips are
scored once, after the last epoch. When all folds of a network are there, they are pooled.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST, SECOND = ("aa", "gmme-k32c8"), ("gmme-lite-k32c8", "gmme-k32c16", "gmme-k64c16")
FOLDS = (1, 2, 3, 4, 5)
RESULT, SPEED = "fold.json", "speed.json"
_STOP_S = 20.0  # to save the states of all runs
_LEAST_S = 25.0  # a run that begins later than this before the deadline would hardly train


@dataclass(frozen=True)
class Job:
    """One run."""

    network: str
    fold: int

    @property
    def name(self) -> str:
        return f"{self.network}-fold-{self.fold}"


def list_jobs(networks: Sequence[str], folds: Sequence[int]) -> list[Job]:
    """The pair that is compared first, fold by fold, then the other networks."""
    groups = ([n for n in networks if n in FIRST], [n for n in networks if n not in FIRST])
    return [Job(network, fold) for group in groups for fold in folds for network in group]


def train(job: Job, options: argparse.Namespace) -> None:
    """A run to its end, or until SIGTERM; scored at the end."""
    import torch

    from gmme_edge.data.registry import open_dataset
    from gmme_edge.data.store import load_waveforms
    from gmme_edge.files import write_json
    from gmme_edge.spec import Task, preset
    from gmme_edge.training.cross_validation import score_fold
    from gmme_edge.training.recipe import named_recipe
    from gmme_edge.training.run.loop import Place, Trainer, TrainingData

    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    dataset = open_dataset("esc50", options.data, job.fold)
    factors = tuple(int(word) for word in options.factors.split(","))
    task = Task("esc50", options.rate, options.samples, factors, len(dataset.labels))
    spec = preset(f"eat-s-{job.network}", task)
    clips = tuple(sorted(dataset.clips, key=lambda clip: clip.path))
    whole = load_waveforms(clips, options.rate, options.cache)
    parts = {
        split: whole.subset({clip.path for clip in dataset.select(split)})
        for split in ("train", "test")
    }
    recipe = named_recipe(
        "esc50",
        options.epochs,
        batch_size=options.batch_size,
        max_lr=options.lr,
        precision=options.precision,
        compile=options.compile,
        seed=options.seed,
    )
    out = options.out / job.name
    data = TrainingData(
        parts["train"], None, dataset.labels, {"dataset": "esc50", "fold": job.fold}
    )
    trainer = Trainer(spec, data, recipe, out, Place(options.device))
    begun, step = time.monotonic(), trainer.state.step
    try:
        trainer.run(lambda progress: None)
    except KeyboardInterrupt:
        print(f"{job.name}: stopped at step {trainer.state.step} of {trainer.total_steps}")
        raise SystemExit(130) from None
    finally:
        seconds = time.monotonic() - begun
        steps = trainer.state.step - step
        speed = {"clips_per_s": steps * trainer.batch_size / seconds, "seconds": seconds}
        write_json(out / SPEED, {**speed, "steps": trainer.state.step})
    scored = score_fold(trainer, job.fold, parts["test"])
    write_json(out / RESULT, {"result": scored.to_dict(), "identity": trainer.identity})
    print(f"{job.name}: {scored.accuracy:.2%} of its test clips", flush=True)


def run_queue(jobs: Sequence[Job], options: argparse.Namespace) -> None:
    """Keep `options.parallel` runs going until the deadline; then stop them with their states."""
    deadline = time.monotonic() + options.seconds
    waiting = [job for job in jobs if not (options.out / job.name / RESULT).is_file()]
    running: dict[Job, subprocess.Popen[bytes]] = {}
    failed: set[Job] = set()
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done", flush=True)
    while (waiting or running) and time.monotonic() < deadline - _STOP_S:
        for job, process in list(running.items()):
            if process.poll() is not None:
                del running[job]
                if process.returncode:
                    failed.add(job)
                    print(f"{job.name} failed with status {process.returncode}", flush=True)
        while (
            waiting
            and len(running) < options.parallel
            and time.monotonic() < deadline - _STOP_S - _LEAST_S
        ):
            job = waiting.pop(0)
            running[job] = _start(job)
        if not running:
            break
        time.sleep(0.2)
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    for job, process in running.items():
        try:
            process.wait(max(deadline - time.monotonic(), 5))
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"{job.name} did not stop in time", flush=True)


def _start(job: Job) -> subprocess.Popen[bytes]:
    words = [sys.executable, __file__, *sys.argv[1:], "--job", f"{job.network}:{job.fold}"]
    return subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "2"})


def pool(jobs: Sequence[Job], out: Path) -> list[Path]:
    """Write ``NETWORK.json``, as `gmme-edge train --folds` does, of each network that is whole."""
    from gmme_edge.files import write_json
    from gmme_edge.scoring import Predictions
    from gmme_edge.training.cross_validation import FoldResult, cross_validation_document

    written = []
    for network in dict.fromkeys(job.network for job in jobs):
        own = [out / job.name / RESULT for job in jobs if job.network == network]
        if not all(path.is_file() for path in own):
            continue
        notes = [json.loads(path.read_text(encoding="utf-8")) for path in own]
        results = [
            FoldResult(
                note["result"]["fold"],
                Predictions.from_dict(note["result"]["predictions"]),
                note["result"]["wall_time_s"],
                note["result"]["checkpoint_sha256"],
            )
            for note in notes
        ]
        path = out / f"{network}.json"
        command = "python benchmarks/gpu/folds.py"
        write_json(path, cross_validation_document(results, notes[0]["identity"], command))
        written.append(path)
    return written


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="ESC-50's folder")
    parser.add_argument("--out", type=Path, required=True, help="a folder per run")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--parallel", type=int, default=3, help="runs at once")
    parser.add_argument("--networks", default=",".join(FIRST + SECOND))
    parser.add_argument("--folds", default="1,2,3,4,5")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16", choices=["32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--rate", type=int, default=16_000)
    parser.add_argument("--samples", type=int, default=81_920)
    parser.add_argument("--factors", default="4,4,4,4")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="of decoded clips; default: beside the runs")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.cache = options.cache or options.out / "cache"
    return options


def main() -> None:
    options = parse()
    if options.job:
        network, _, fold = options.job.partition(":")
        train(Job(network, int(fold)), options)
        return
    jobs = list_jobs(options.networks.split(","), [int(n) for n in options.folds.split(",")])
    options.out.mkdir(parents=True, exist_ok=True)
    _decode(options)
    run_queue(jobs, options)
    for path in pool(jobs, options.out):
        print(f"pooled: {path}")


def _decode(options: argparse.Namespace) -> None:
    """Once, so that the runs find it."""
    from gmme_edge.data.registry import open_dataset
    from gmme_edge.data.store import load_waveforms

    clips = open_dataset("esc50", options.data, 1).clips
    load_waveforms(tuple(sorted(clips, key=lambda clip: clip.path)), options.rate, options.cache)


if __name__ == "__main__":
    main()
