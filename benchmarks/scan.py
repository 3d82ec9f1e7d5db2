"""How fast `scan` goes through an archive, and what memory it takes; writes a JSON file.

    python benchmarks/scan.py [--model esc10] [--minutes 10] [--long-hours 1] [-o FILE]
    python benchmarks/scan.py --minutes 0 --small-files 0 --long-hours 0 --divided-hours 1

Recordings are generated: noise at 48 kHz, 16 bits. The gate is off, so that every window is
computed, but for the small files, which are silent, and the long one of `--long-hours`, which shows
memory. A plain loop over `classifier` is timed on the same recordings and windows. One file of
`--divided-hours`, which the workers share, is timed with each number of `--workers`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import gmme_edge
from gmme_edge.audio import read_audio
from gmme_edge.device.facts import describe_device
from gmme_edge.runtime.streaming.grid import make_grid
from gmme_edge.workflows import scanning
from gmme_edge.workflows.archive.executors import usable_cpus
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings, WorkerSettings

RATE_HZ = 48_000


def write_noise(path: Path, minutes: float, rate_hz: int, seed: int = 0) -> None:
    block = np.random.default_rng(seed).normal(0, 0.1, rate_hz * 10).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate_hz, 1, "PCM_16") as file:
        for _ in range(round(minutes * 6)):
            file.write(block)


def plain_loop(model: str, folder: Path, hop_ms: float) -> float:
    """Seconds for every window of every recording, one after the other, in one process."""
    start = time.monotonic()
    with gmme_edge.load(model) as classifier:  # all cores for each call
        rate_hz, size = classifier.sample_rate_hz, classifier.window_samples
        for path in sorted(folder.iterdir()):
            sound = read_audio(path, rate_hz)
            for at in make_grid(rate_hz, size, hop_ms).starts(len(sound)):
                classifier(sound[at : at + size], rate_hz)
    return time.monotonic() - start


def scan_s(model: str, folder: Path, hop_ms: float, workers: int, gate: bool = False) -> float:
    with tempfile.TemporaryDirectory() as output:
        start = time.monotonic()
        scanning.scan(
            model,
            [folder],
            ScanSettings(output=Path(output)),
            EventSettings(hop_ms=hop_ms, gate=gate),
            WorkerSettings(workers=workers),
        )
        return time.monotonic() - start


def peak_memory(model: str, path: Path, hop_ms: float) -> list[list[float]]:
    """Seconds passed and MB in the scan and its worker, twice a second, while one file is heard."""
    with tempfile.TemporaryDirectory() as output:
        arguments = [str(path), "-m", model, "-o", output, "--workers", "1"]
        command = Path(sys.executable).with_name("gmme-edge")
        process = subprocess.Popen(
            [command, "scan", *arguments, "--hop-ms", str(hop_ms)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        curve, start = [], time.monotonic()
        while process.poll() is None:
            found = [resident_mb(pid) for pid in (process.pid, *children(process.pid))]
            curve.append([round(time.monotonic() - start, 1), round(sum(found), 1)])
            time.sleep(0.5)
    return curve


def children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def compare_with_loop(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Hours of audio per minute, by who goes through five files."""
    folder.mkdir()
    for i in range(5):
        write_noise(folder / f"{i}.wav", options.minutes / 5, options.rate_hz, i)
    took = {"plain loop": plain_loop(options.model, folder, options.hop_ms)}
    for workers in sorted({1, usable_cpus()}):
        name = f"scan, {workers} workers"
        took[name] = scan_s(options.model, folder, options.hop_ms, workers)
    return {name: options.minutes / seconds for name, seconds in took.items()}


def time_divided(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds for one long file, by workers, from the command's start to its results."""
    folder.mkdir()
    write_noise(folder / "long.wav", options.divided_hours * 60, options.rate_hz)
    took: dict[str, float] = {}
    for workers in options.workers:
        took[str(workers)] = scan_s(options.model, folder, options.hop_ms, workers)
        print(f"divided, {workers} workers: {took[str(workers)]:.1f} s", flush=True)
    return took


def time_small_files(options: argparse.Namespace, folder: Path) -> float:
    """Seconds for silent files of one second."""
    folder.mkdir()
    for i in range(options.small_files):
        soundfile.write(folder / f"{i}.wav", np.zeros(options.rate_hz), options.rate_hz)
    return scan_s(options.model, folder, options.hop_ms, usable_cpus(), gate=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="esc10")
    parser.add_argument(
        "--minutes", type=float, default=10, help="of sound, in five files; 0: none"
    )
    parser.add_argument("--long-hours", type=float, default=1, help="length of the long file")
    parser.add_argument("--small-files", type=int, default=1000)
    parser.add_argument("--divided-hours", type=float, default=0, help="of one file, gate off")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="for that file")
    parser.add_argument("--rate-hz", type=int, default=RATE_HZ, help="of the recordings")
    parser.add_argument("--hop-ms", type=float, default=2500)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"device": describe_device(), "settings": vars(options).copy()}
    found["settings"]["output"] = str(options.output)
    with tempfile.TemporaryDirectory() as scratch:
        if options.minutes:
            found["hours_per_minute"] = compare_with_loop(options, Path(scratch, "files"))
            print(json.dumps(found["hours_per_minute"], indent=2), flush=True)
        if options.small_files:
            found["small_files_s"] = time_small_files(options, Path(scratch, "small"))
            print("small files", found["small_files_s"], flush=True)
        if options.divided_hours:
            found["divided_s"] = time_divided(options, Path(scratch, "divided"))
        for name, hours in (("short", 1 / 60), ("long", options.long_hours)):
            if not options.long_hours:
                break
            path = Path(scratch, f"{name}.wav")
            write_noise(path, hours * 60, options.rate_hz)
            found[f"memory_{name}"] = peak_memory(options.model, path, options.hop_ms)
            print(name, "peak MB", max(mb for _, mb in found[f"memory_{name}"]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
