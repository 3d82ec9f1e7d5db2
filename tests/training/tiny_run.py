"""A run of seconds, the same in every process: ``python -m tests.training.tiny_run OUT``."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmme_edge.data.store import WaveformStore, end_to_end
from gmme_edge.models.eat import EAT
from gmme_edge.spec import Downsample
from gmme_edge.training.feed.batches import Batches
from gmme_edge.training.feed.feed import Batch
from gmme_edge.training.parallel.fabric import open_fabric
from gmme_edge.training.recipe import Recipe, override
from gmme_edge.training.run import loop
from gmme_edge.training.run.journal import Journal
from gmme_edge.training.run.loop import Place, Start, Trainer, TrainingData
from tests.conftest import TINY

SPEC = replace(TINY, downsample=Downsample("gmme", 4, 2))
LABELS = ("low", "high", "noise")
RECIPE = Recipe(epochs=4, batch_size=4, max_lr=3e-3, ema_unit="step", mixing_from_epoch=2)
STEPS_PER_EPOCH, TOTAL_STEPS = 3, 12  # 13 clips: the last partial batch is dropped


def make_store(waveforms: Sequence[np.ndarray], labels: Sequence[int]) -> WaveformStore:
    return WaveformStore(
        np.concatenate(waveforms).astype(np.float32),
        end_to_end([len(waveform) for waveform in waveforms]),
        np.array(labels, np.int64),
        tuple(Path(f"clip-{i}.wav") for i in range(len(labels))),
        (),
        (),
    )


def make_sounds(n_clips: int, seed: int) -> WaveformStore:
    """Tones below 500 Hz, tones above 1 kHz and noise; half to one and a half clips long."""
    rng = np.random.default_rng(seed)
    waveforms, labels = [], [i % 3 for i in range(n_clips)]
    for label in labels:
        t = np.arange(rng.integers(SPEC.n_samples // 2, 3 * SPEC.n_samples // 2)) / 8000
        hz = rng.uniform(*((150, 500), (1000, 3000), (1, 2))[label])
        sound = rng.normal(size=len(t)) if label == 2 else np.sin(2 * np.pi * hz * t)
        waveforms.append(rng.uniform(0.05, 0.9) * (sound + 0.05 * rng.normal(size=len(t))))
    return make_store(waveforms, labels)


def make_data(n_clips: int = 13, monitor: bool = True, seed: int = 0) -> TrainingData:
    watched = make_sounds(6, 99) if monitor else None
    return TrainingData(make_sounds(n_clips, seed), watched, LABELS, {"dataset": "tiny", "fold": 1})


def make_trainer(
    out: Path,
    recipe: Recipe = RECIPE,
    data: TrainingData | None = None,
    spec=SPEC,  # noqa: ANN001
    *,
    journal: Journal | None = None,
    place: Place = Place(),  # noqa: B008
    start: EAT | None = None,
    teacher: Callable[[torch.Tensor], torch.Tensor] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Trainer:
    begin = Start(start, teacher, identity or {})
    return Trainer(spec, data or make_data(), recipe, out, place, begin, journal)


class DoubleBatches(Batches):
    def take(self, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        waveform, labels = super().take(*arguments)
        return waveform.double(), labels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=0, help="more than 0: with a Fabric")
    parser.add_argument("--set", nargs="*", default=[], help="name=value of the recipe")
    parser.add_argument("--stop", type=int, help="the last process sends itself SIGINT then")
    parser.add_argument("--double", action="store_true", help="in float64")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.double:
        torch.set_default_dtype(torch.float64)
        loop.Batches = DoubleBatches  # type: ignore[misc]
    loop._SAVE_EVERY_S = 0.0  # after every step
    fabric = open_fabric("cpu", options.devices) if options.devices else None
    recipe, data = override(RECIPE, options.set), make_data(monitor=not options.double)
    trainer = make_trainer(options.out, recipe, data, place=Place(fabric=fabric))
    if trainer.processes.rank > 0:
        loop.save_checkpoint = trainer.state.save = None  # type: ignore[assignment,method-assign]
    step, last = trainer.feed.batch, trainer.processes.rank == trainer.processes.size - 1

    def batch(number: int) -> Batch:
        if last and number + 1 == options.stop:
            os.kill(os.getpid(), signal.SIGINT)
        return step(number)

    trainer.feed.batch = batch  # type: ignore[method-assign]
    trainer.run(lambda p: print(p.step, flush=True))


if __name__ == "__main__":
    main()
