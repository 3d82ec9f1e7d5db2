"""Time and memory of training on data sets of the full size, made of noise and tones.

    python benchmarks/full_size.py urbansound8k FOLDER [--model …] [--steps 3] [-o FILE]
    python benchmarks/full_size.py speech-commands FOLDER

Writes a tree like the published one (8,732 slices of 4 s, 44.1 kHz, stereo: 6 GB; 105,829 words of
1 s, 16 kHz: 3.4 GB), unless FOLDER holds it, and starts the documented command twice: with an empty
cache, and once more. After some steps it is stopped as by Ctrl-C. An epoch is calculated from
its clips per second. Options that this script does not know go to the command.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from gmme_edge.device.facts import describe_device
from gmme_edge.files import write_json

SIZES = {"urbansound8k": (8_732, 44_100, 4.0, 2), "speech-commands": (105_829, 16_000, 1.0, 1)}
"""Recordings, rate in Hz, seconds, channels."""
N_TEST_WORDS, N_VALIDATION_WORDS = 11_005, 9_981
RUN_OPTIONS = {"urbansound8k": ["--fold", "1"], "speech-commands": []}


def main() -> None:
    options = _options()
    tree, cache = options.folder / "data", options.folder / "cache"
    if not tree.exists():
        start = time.monotonic()
        partial = tree.with_suffix(".partial")
        {"urbansound8k": make_slices, "speech-commands": make_words}[options.dataset](partial)
        partial.rename(tree)
        print(f"{tree} written in {time.monotonic() - start:.0f} s", flush=True)
    rows = {
        name: train(options, tree, cache, options.folder / f"run-{name}")
        for name in ("empty cache", "again")
    }
    for name, row in rows.items():
        print(name, json.dumps(row))
    if options.output:
        write_json(
            options.output, {"device": describe_device(), "dataset": options.dataset, **rows}
        )


def train(options: argparse.Namespace, tree: Path, cache: Path, out: Path) -> dict[str, Any]:
    """Start a training and stop it after a while; seconds and memory, by its progress lines."""
    command = [
        *(str(Path(sys.executable).with_name("gmme-edge")), "train", "--dataset", options.dataset),
        *("--data", str(tree), "--cache", str(cache), "--model", options.model, "-o", str(out)),
        *RUN_OPTIONS[options.dataset], *options.more,
    ]  # fmt: skip
    start = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    steps: list[tuple[int, float]] = []
    assert process.stderr
    for line in process.stderr:
        sys.stderr.write(line)
        if found := re.search(r" step (\d+) loss ", line):
            steps.append((int(found[1]), time.monotonic()))
            if steps[-1][0] - steps[0][0] >= options.steps:
                break
    process.send_signal(signal.SIGINT)
    sys.stderr.write(process.stderr.read())
    _, status, usage = os.wait4(process.pid, 0)
    (first, first_at), (last, last_at) = steps[0], steps[-1]
    record = json.loads((out / "model.json").read_text(encoding="utf-8"))["training"]
    clips_per_s = (last - first) * record["recipe"]["batch_size"] / (last_at - first_at)
    return {
        "exit_code": os.waitstatus_to_exitcode(status), "ready_s": round(first_at - start, 1),
        "clips": record["data"]["clips"], "clips_per_s": round(clips_per_s, 2),
        "epoch_h": round(record["data"]["clips"] / clips_per_s / 3600, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }  # fmt: skip


def make_slices(folder: Path) -> None:
    """As UrbanSound8K: ten folds, ten classes, a table."""
    total, rate_hz, seconds, channels = SIZES["urbansound8k"]
    sounds = _Sounds(rate_hz, seconds, channels)
    (folder / "metadata").mkdir(parents=True)
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for index in range(total):
        fold, label = index % 10 + 1, index // 10 % 10
        name = f"{100_000 + index}-{label}-0-0.wav"
        path = folder / "audio" / f"fold{fold}" / name
        sounds.write(path, index, label)
        rows.append(f"{name},{100_000 + index},0.0,{seconds},1,{fold},{label},class_{label}")
    (folder / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows), encoding="utf-8")


def make_words(folder: Path) -> None:
    """As Speech Commands V2: a folder for each of 35 words, two lists."""
    total, *shape = SIZES["speech-commands"]
    sounds = _Sounds(*shape)
    entries = []
    for index in range(total):
        word = index % 35
        entry = f"word_{word:02d}/{index // 35:08x}_nohash_0.wav"
        sounds.write(folder / entry, index, word)
        entries.append(entry)
    lists = {"testing": entries[:N_TEST_WORDS],
             "validation": entries[N_TEST_WORDS:][:N_VALIDATION_WORDS]}  # fmt: skip
    for name, part in lists.items():
        (folder / f"{name}_list.txt").write_text("\n".join(part), encoding="utf-8")


class _Sounds:
    """A stretch of one long noise, another for each recording, and a tone for the class."""

    def __init__(self, rate_hz: int, seconds: float, channels: int) -> None:
        self.rate_hz, self.size = rate_hz, round(rate_hz * seconds)
        noise = np.random.default_rng(0).normal(0, 0.05, (self.size + 1_000_000, channels))
        self.noise = noise.astype(np.float32)
        self.seconds = np.arange(self.size, dtype=np.float32)[:, None] / rate_hz

    def write(self, path: Path, index: int, label: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        start = index * 7_919 % 1_000_000
        tone = 0.3 * np.sin(2 * np.pi * (200 + 100 * label) * self.seconds, dtype=np.float32)
        soundfile.write(path, self.noise[start : start + self.size] + tone, self.rate_hz, "PCM_16")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=SIZES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="eat-s-gmme-k32c8")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options, options.more = parser.parse_known_args()
    return options


if __name__ == "__main__":
    main()
