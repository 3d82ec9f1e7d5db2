"""Clips per second of our training feed and step against a per-clip `DataLoader` loop.

Usage: python benchmarks/training_throughput.py [--device cuda] [--output RESULT.json]

Both train the same network on the same clips with the same step; only what feeds it differs:

- ours: waveforms in memory, augmented and mixed a batch at a time on the device;
- `per_clip_loop.py`: clips augmented one by one on the CPU in a `DataLoader`, mixed on the device,
  in the main process or in worker processes; from the same memory or, as the reference does,
  from WAV files.

"feed" rows time the data path alone, the others whole training steps. In each repetition every
variant runs one block, in random order, and ratios pair the blocks of a repetition. A block's
batches are all made within it: a `DataLoader`'s workers start empty and prepare nothing ahead for
the next. Mixing is on throughout, as it is after the recipe's first 12 epochs.
"""

from __future__ import annotations

import argparse
import functools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import soundfile
import torch
from per_clip_loop import Clips, LoaderFeed

from gmme_edge.data.store import WaveformStore
from gmme_edge.data.synthetic import LABELS, make_synthetic
from gmme_edge.device.facts import describe_device
from gmme_edge.files import write_json
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.spec import Backbone, ModelSpec, Task, get_task, preset
from gmme_edge.training.feed.feed import Feed
from gmme_edge.training.feed.spectra import stft_sizes
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.allocator import keep_freed_memory
from gmme_edge.training.run.loop import Place, Trainer, TrainingData

OURS = "ours"
CLIP_S = {"speech-commands": 1.0, "esc50": 5.0}
SMALL = Backbone(stem_channels=2, embed_dim=32, feedforward_dim=64, n_layers=1, n_heads=4)

Block = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """One row: the audio of `task`, and the network, or None for the feed alone."""

    task: str
    network: str | None
    batch_size: int
    batches_per_block: int

    @property
    def name(self) -> str:
        return f"{self.task}, {self.network or 'feed'}"


CPU_SETTINGS = (
    Setting("speech-commands", None, 128, 12),
    Setting("esc50", None, 32, 12),
    Setting("speech-commands", "small", 128, 3),
    Setting("speech-commands", "eat-s-gmme-k32c8", 16, 2),
    Setting("esc50", "eat-s-gmme-k32c8", 4, 2),
)
GPU_SETTINGS = (
    Setting("speech-commands", None, 128, 16),
    Setting("esc50", None, 128, 8),
    Setting("speech-commands", "eat-s-gmme-k32c8", 128, 16),
    Setting("esc50", "eat-s-gmme-k32c8", 128, 8),
)


def make_spec(setting: Setting) -> ModelSpec:
    task: Task = get_task(setting.task)
    name = setting.network or "small"
    if name == "small":
        spec = preset("eat-s-gmme-lite-k32c8", task, len(LABELS))
        return replace(spec, name=name, backbone=SMALL)
    return preset(name, task, len(LABELS))


@functools.cache
def make_clips(task: str) -> WaveformStore:
    rate = get_task(task).sample_rate_hz
    return make_synthetic(13, rate, int(CLIP_S[task] * rate))


def write_files(store: WaveformStore, sample_rate_hz: int, folder: Path) -> list[Path]:
    paths = [folder / f"{i}.wav" for i in range(len(store))]
    for i, path in enumerate(paths):
        soundfile.write(path, store.waveform(i), sample_rate_hz, subtype="PCM_16")
    return paths


def make_blocks(
    setting: Setting, workers: Sequence[int], device: torch.device, precision: str, folder: Path
) -> dict[str, Block]:
    """A function per variant that makes a block's batches, and trains on them if there is a net.

    `folder` is for the clips' files, which the variant with most workers reads once more.
    """
    spec, store = make_spec(setting), make_clips(setting.task)
    recipe = Recipe(
        epochs=10_000, batch_size=setting.batch_size, mixing_from_epoch=0,
        precision=precision,  # type: ignore[arg-type]
    )  # fmt: skip
    data = TrainingData(store, None, LABELS, {})
    trainer = Trainer(spec, data, recipe, folder, Place(str(device)))
    rate, sizes = spec.sample_rate_hz, stft_sizes(recipe, spec.sample_rate_hz)

    def loader(n_workers: int, files: Sequence[Path] = ()) -> LoaderFeed:
        clips = Clips(store, spec.n_samples, recipe, rate, files)
        return LoaderFeed(clips, recipe, sizes, setting.batch_size, n_workers, device)

    feeds: dict[str, Feed | LoaderFeed] = {OURS: trainer.feed}
    feeds |= {f"loop, {n} workers": loader(n) for n in workers}
    feeds[f"loop, {max(workers)} workers, files"] = loader(
        max(workers), write_files(store, rate, folder)
    )

    def run(feed: Feed | LoaderFeed) -> None:
        trainer.feed = feed  # type: ignore[assignment]
        if isinstance(feed, LoaderFeed):
            feed.start(setting.batches_per_block)
        for _ in range(setting.batches_per_block):
            if setting.network:
                trainer._step()
            else:
                feed.batch(trainer.state.step)
                trainer.state.step += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return {name: functools.partial(run, feed) for name, feed in feeds.items()}


def measure(setting: Setting, blocks: dict[str, Block], repetitions: int) -> dict[str, list[float]]:
    """Clips per second of each variant, one sample per repetition; the first round is untimed."""
    clips = setting.batch_size * setting.batches_per_block
    speed: dict[str, list[float]] = {name: [] for name in blocks}
    for repetition in range(repetitions + 1):
        for name in random.sample(list(blocks), len(blocks)):
            start = time.perf_counter()
            blocks[name]()
            if repetition:
                speed[name].append(clips / (time.perf_counter() - start))
    return speed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; × is our speed over that loop's, with its 95 % interval."""
    loops = [name for name in rows[0]["clips_per_s"] if name != OURS]
    head = ["setting", "batch", OURS, *(f"{name} | ×" for name in loops)]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (2 + 2 * len(loops))]
    for row in rows:
        speed, cells = row["clips_per_s"], []
        for name in loops:
            ratio, (low, high) = paired_ratio(speed[OURS], speed[name])
            cells += [f"{median(speed[name]):,.1f}", f"{ratio:.2f} [{low:.2f}, {high:.2f}]"]
        values = [row["setting"], str(row["batch_size"]), f"{median(speed[OURS]):,.1f}", *cells]
        lines.append(f"| {' | '.join(values)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--precision", default="32", choices=["32", "bf16", "16"])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--only", help="the settings whose name holds this text")
    parser.add_argument("--output", type=Path, help="JSON with every sample")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()  # as `Trainer.run` does; for the loop too
    random.seed(0)
    device, rows = torch.device(options.device), []
    for setting in GPU_SETTINGS if device.type == "cuda" else CPU_SETTINGS:
        if options.only and options.only not in setting.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            blocks = make_blocks(setting, options.workers, device, options.precision, Path(folder))
            speed = measure(setting, blocks, options.repetitions)
        rows.append(
            {"setting": setting.name, "batch_size": setting.batch_size,
             "batches_per_block": setting.batches_per_block, "clips_per_s": speed}
        )  # fmt: skip
    machine = describe_device()
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else machine.get("cpu", "CPU")
    print(f"Clips per second on {on}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"({options.repetitions} repetitions, medians; precision {options.precision})\n")
    print(table(rows))
    if options.output:
        document = {
            "schema": 1, "device": machine, "on": on, "threads": torch.get_num_threads(),
            "torch": torch.__version__, "precision": options.precision, "rows": rows,
        }  # fmt: skip
        write_json(options.output, document)


if __name__ == "__main__":
    main()
