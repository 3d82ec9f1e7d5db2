"""Time and memory of the documented trainings on data sets of the full size, made here.

    python benchmarks/full_size.py FOLDER [--datasets …] [--models …] [--steps 12] [-o FILE]

Makes a tree like the published one under FOLDER (UrbanSound8K 7 GB, Speech Commands V2 3.5 GB; what
is decoded takes 3 and 6 GB more). Then, each time in a process of its own: a first start of the
first model with an empty cache, a second start of the same command, which continues the run, and a
start of each further model. Each takes some optimizer steps of the recipe, with mixing as from its
12th epoch on, and is stopped as by Ctrl-C; then a part of the watched clips is scored. What an
epoch takes is calculated from that. FOLDER keeps the trees for the next call; delete it at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from made_trees import MAKERS

from gmme_edge.data.cache import list_entries
from gmme_edge.device.facts import describe_device
from gmme_edge.files import write_json
from gmme_edge.workflows.settings.training import (
    LearningData,
    MachineSettings,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
)
from gmme_edge.workflows.training import TrainingJob, cross_validate, train
from gmme_edge.workflows.training_observer import TrainingObserver

if TYPE_CHECKING:
    from gmme_edge.training.feed.feed import Batch
    from gmme_edge.training.run.loop import Progress, Trainer

MODELS = ("eat-s-aa", "eat-s-gmme-k32c8")
FOLDS = {"urbansound8k": "all", "speech-commands": None}  # as in the documented commands
MEMORY = {"peak": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
"""In /proc/self/status; ``mapped`` are pages of files, which the kernel takes back when it must."""

READ_LISTS, TRAIN = "read the lists", "train"
Row = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """Seconds by the clock, and of this process's CPU time."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Span:
        """Since an origin that all calls share."""
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, before: Span) -> Span:
        return Span(self.wall_s - before.wall_s, self.cpu_s - before.cpu_s)

    def __mul__(self, factor: float) -> Span:
        return Span(self.wall_s * factor, self.cpu_s * factor)

    def __str__(self) -> str:
        return f"{_duration(self.wall_s)} ({_duration(self.cpu_s)})"


class Watch(TrainingObserver):
    """Notes when each stage begins and each step ends, and stops the run after `n_steps`."""

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self.stages = [(READ_LISTS, Span.now())]
        self.steps: list[Span] = []
        self.fed_s: list[float] = []
        self.notes: list[str] = []
        self.memory_mb: dict[str, dict[str, int]] = {}
        self.silence_s = 0.0
        self._heard_s = time.perf_counter()

    def stage(self, name: str) -> None:
        self._hear()
        self.stages.append((name, Span.now()))

    def progress(self, what: str, done: int, total: int) -> None:
        self._hear()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def began(self, trainer: Trainer, title: str) -> None:
        self.stage(TRAIN)
        self.trainer = trainer
        self.memory_mb["before the steps"] = memory_mb()
        make = trainer.feed.batch

        def timed(step: int) -> Batch:
            begun = time.perf_counter()
            batch = make(step)
            self.fed_s.append(time.perf_counter() - begun)
            return batch

        trainer.feed.batch = timed  # type: ignore[method-assign]

    def stepped(self, progress: Progress) -> None:
        self.steps.append(Span.now())
        if len(self.steps) == 2:
            self.memory_mb["after two steps"] = memory_mb()
        if len(self.steps) == self._n_steps:
            self.memory_mb["after the last"] = memory_mb()
            signal.raise_signal(signal.SIGTERM)  # SIGINT is ignored where a shell's & started this

    def _hear(self) -> None:
        now = time.perf_counter()
        self.silence_s, self._heard_s = max(self.silence_s, now - self._heard_s), now


def start(job: TrainingJob, n_steps: int, n_scored: int) -> Row:
    """One start of a training in this process: what it took, and what an epoch would take."""
    watch = Watch(n_steps)
    with contextlib.suppress(KeyboardInterrupt):
        (cross_validate if job.folds else train)(job, watch)
    saved, trainer = Span.now() - watch.steps[-1], watch.trainer
    begins = [at for _, at in watch.stages]
    taken = {name: b - a for (name, a), b in zip(watch.stages, begins[1:], strict=False)}
    # The first step of a process also fetches the memory that the others use again.
    per_step = (watch.steps[-1] - watch.steps[0]) * (1 / (n_steps - 1))
    per_clip, n_scored = score_part(trainer, n_scored)
    n_watched = len(trainer.data.monitor or ())
    return {
        "training clips": len(trainer.data.train), "watched clips": n_watched,
        "batch": trainer.batch_size, "parts of a batch": len(trainer.parts),
        "steps timed": n_steps - 1, "clips scored": n_scored,
        **taken, "ready": begins[-1] - begins[0], "longest silence, s": round(watch.silence_s, 1),
        "step": per_step,
        "of it the data path, %": round(100 * fmean(watch.fed_s[1:]) / per_step.wall_s, 1),
        "stop and save": saved,
        "training clips of an epoch, calculated": per_step * trainer.steps_per_epoch,
        "watched clips of an epoch, calculated": per_clip * n_watched,
        **{f"memory {when}": values for when, values in watch.memory_mb.items()},
        "memory after scoring": memory_mb(), "notes": "; ".join(watch.notes),
    }  # fmt: skip


def score_part(trainer: Trainer, n_clips: int) -> tuple[Span, int]:
    """What a watched clip takes, and how many were scored: at most `n_clips`, evenly spread."""
    from gmme_edge.evaluation import score_store
    from gmme_edge.models.eat import torch_predictor

    watched = trainer.data.monitor
    assert watched is not None
    part = watched.subset(set(watched.paths[:: -(-len(watched) // n_clips)]))
    begun = Span.now()
    predict = torch_predictor(trainer.state.ema.model)
    score_store(predict, part, trainer.spec.n_samples, trainer.data.labels)
    return (Span.now() - begun) * (1 / len(part)), len(part)


def memory_mb() -> dict[str, int]:
    """This process's, in MB, as the kernel counts it (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kib = {name: int(status.partition(f"{key}:")[2].split()[0]) for name, key in MEMORY.items()}
    return {name: round(value * 1.024e-3) for name, value in kib.items()}


def trial(options: argparse.Namespace, dataset: str) -> Iterator[tuple[str, Row]]:
    """Every start on one data set: what it is called, and what it took."""
    place = options.folder / dataset
    make, n_clips = MAKERS[dataset]
    tree, partial, cache = (place / name for name in ("data", "partial", "cache"))
    for old in (partial, cache, place / "runs"):
        shutil.rmtree(old, ignore_errors=True)
    if not tree.exists():
        begun = Span.now()
        make(partial, options.clips or n_clips)
        partial.rename(tree)
        print(f"{dataset}: tree made in {Span.now() - begun}", flush=True)
    first, *others = options.models
    starts = [(first, "empty cache"), (first, "again"), *((name, "") for name in others)]
    for model, how in starts:
        job = TrainingJob(
            data=LearningData(dataset=dataset, data=tree, cache=cache, folds=FOLDS[dataset]),
            run=RunSettings(output=place / "runs" / model),
            network=NetworkSettings(model=model),
            recipe=RecipeSettings(batch_size=options.batch, assign=("mixing_from_epoch=0",)),
            machine=MachineSettings(device="cpu", threads=options.threads, tensorboard=False),
        )
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(start, (job, options.steps, options.scored))
        cached = sum(entry.size_bytes for entry in list_entries(cache))
        yield f"{model}, {how}" if how else model, {**row, "cache, MB": cached // 10**6}


def table(rows: dict[str, Row]) -> Iterator[str]:
    """Markdown, a column for each start; durations by the clock, those of the CPU in brackets."""
    yield f"| | {' | '.join(rows)} |\n|---|{'---:|' * len(rows)}"
    names = dict.fromkeys(itertools.chain.from_iterable(rows.values()))
    for name in names:
        cells = (_cell(row[name]) for row in rows.values())
        yield f"| {name} | {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


def _plain(row: Row) -> Row:
    return {name: asdict(v) if isinstance(v, Span) else v for name, v in row.items()}


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for trees, caches and runs")
    parser.add_argument("--datasets", nargs="+", default=list(MAKERS), choices=MAKERS)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--clips", type=int, help="of a smaller tree; default: the full size")
    parser.add_argument("--steps", type=int, default=12, help="of each start, from 2 on")
    parser.add_argument("--scored", type=int, default=320, help="watched clips to score")
    parser.add_argument("--batch", type=int, help="clips of a step; default: the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="of torch; two more decode")
    parser.add_argument("-o", "--output", type=Path, help="JSON")
    options = parser.parse_args()
    results: dict[str, dict[str, Row]] = {}
    for dataset in options.datasets:
        rows = {}
        for name, row in trial(options, dataset):
            rows[name] = row
            results.setdefault(dataset, {})[name] = _plain(row)
            print(f"{dataset}: {name} done", flush=True)
            if options.output:  # after every start, as each may take half an hour
                content = {"schema": 1, "device": describe_device(), "starts": results}
                write_json(options.output, content)
        print(*table(rows), sep="\n", flush=True)


if __name__ == "__main__":
    main()
