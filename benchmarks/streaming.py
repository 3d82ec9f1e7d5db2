"""What the activity gate saves and costs, and what listening takes; writes a JSON file.

    python benchmarks/streaming.py --data FOLDER [--only NAME] [-o FILE]

FOLDER holds ESC-10, ESC-50-16k, FSDD and field (recordings of quiet places and of a street). Scenes
are made of clips that the networks were not trained on: fold 5 of ESC-10 and ESC-50, and the test
list of FSDD.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gmme_edge
from gmme_edge.audio import read_audio
from gmme_edge.runtime.streaming.events import Event, find_events
from gmme_edge.runtime.streaming.gate import ActivityGate, GateRules
from gmme_edge.runtime.streaming.grid import WindowGrid, make_grid
from gmme_edge.runtime.streaming.rules import EventRules
from gmme_edge.runtime.streaming.stream import classify_windows
from gmme_edge.statistics import wilson_interval

SNRS_DB = (-5, 0, 5, 10, 20)
RULES = {
    "esc10": EventRules(on=0.7, merge_gap_s=1.0, min_duration_s=0.5),
    "digits": EventRules(on=0.8, merge_gap_s=0.2, min_duration_s=0.3),
}
HOP_MS = {"esc10": 1000, "digits": 200}
SECONDS = {"esc10": 240, "digits": 120}
PAUSE_S = {"esc10": (7.0, 15.0), "digits": (2.0, 6.0)}
UNKNOWN_S, UNKNOWN_PAUSE_S = 120, (3.0, 7.0)
PLACES = ("recorder-24h", "street-3min")
Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Truth:
    label: str
    start: int
    end: int


def clips(name: str, data: Path, rate_hz: int, test: bool = True) -> list[tuple[str, Sound]]:
    """Labelled clips that the network was not trained on, or was (to choose the gate's numbers)."""
    if name == "esc10":
        rows = csv.DictReader((data / "ESC-10/meta/esc50.csv").open())
        chosen = [
            (row["category"], data / "ESC-10/audio" / row["filename"])
            for row in rows
            if (row["fold"] == "5") == test
        ]
    else:
        listed = (data / "FSDD/testing_list.txt").read_text().split()
        held = set(listed) | set((data / "FSDD/validation_list.txt").read_text().split())
        every = sorted(str(p.relative_to(data / "FSDD")) for p in (data / "FSDD").glob("*/*.wav"))
        names = listed if test else [one for one in every if one not in held]
        chosen = [(one.split("/")[0], data / "FSDD" / one) for one in names]
    order = np.random.default_rng(1).permutation(len(chosen))[:80]
    return [(chosen[i][0], trimmed(read_audio(chosen[i][1], rate_hz))) for i in order]


def trimmed(clip: Sound) -> Sound:
    """Without the digital silence that pads many clips of ESC."""
    loud = np.flatnonzero(np.abs(clip) > 1e-3 * np.abs(clip).max(initial=1e-9))
    return clip[loud[0] : loud[-1] + 1] if len(loud) else clip


def background(data: Path, place: str, rate_hz: int, n_samples: int) -> Sound:
    """Field recordings one after another, at their own level."""
    files = sorted((data / "field" / place).glob("*.flac"))
    whole = np.concatenate([read_audio(path, rate_hz) for path in files])
    return np.resize(whole, n_samples)


def make_scene(
    noise: Sound,
    sounds: Iterable[tuple[str, Sound]],
    snr_db: float,
    rate_hz: int,
    pause_s: tuple[float, float],
) -> tuple[Sound, list[Truth]]:
    """Clips over a background, each `snr_db` above it where it lies; nothing is clipped away."""
    rng = np.random.default_rng(7)
    scene, truth = noise.copy(), []
    position = int(rng.uniform(*pause_s) * rate_hz)
    for label, clip in sounds:
        if position + len(clip) >= len(scene):
            break
        here = noise[position : position + len(clip)]
        gain = np.sqrt(np.mean(here**2) / np.mean(clip**2)) * 10 ** (snr_db / 20)
        scene[position : position + len(clip)] += np.float32(gain) * clip
        truth.append(Truth(label, position, position + len(clip)))
        position += len(clip) + int(rng.uniform(*pause_s) * rate_hz)
    return scene / max(1.0, float(np.abs(scene).max())), truth


def gate_mask(scene: Sound, grid: WindowGrid, rules: GateRules) -> NDArray[np.bool_]:
    """Which windows the gate lets through."""
    gate, heard, mask = ActivityGate(rules, grid.sample_rate_hz), 0, []
    for start in grid.starts(len(scene)):
        end = min(len(scene), start + grid.window_samples)
        gate.hear(scene[heard:end])
        heard = end
        mask.append(gate.is_open(start))
    return np.array(mask)


def judge(events: list[Event], truth: list[Truth], rate_hz: int) -> tuple[list[bool], int]:
    """MLPerf Tiny's rule: hits count up to 1 s after the end; false alarms within 1 s are one."""
    second = rate_hz
    hits = [any(e.label == t.label and meets(e, t, rate_hz) for e in events) for t in truth]
    wrong = sorted(
        (e.start_sample, e.end_sample)
        for e in events
        if not any(e.label == t.label and meets(e, t, rate_hz) for t in truth)
    )
    alarms, until = 0, -second - 1
    for start, end in wrong:
        alarms += start > until + second
        until = max(until, end)
    return hits, alarms


def scenes(name: str, data: Path, only_snrs: tuple[int, ...] = SNRS_DB) -> list[dict[str, Any]]:
    """Recall, false alarms and inferences, with and without the gate."""
    rows: list[dict[str, Any]] = []
    with gmme_edge.load(name, threads=1) as classifier:
        rate = classifier.sample_rate_hz
        grid = make_grid(rate, classifier.window_samples, HOP_MS[name])
        sounds = clips(name, data, rate)
        for place in PLACES:
            noise = background(data, place, rate, SECONDS[name] * rate)
            for snr_db in only_snrs:
                scene, truth = make_scene(noise, sounds, snr_db, rate, PAUSE_S[name])
                row = {"network": name, "background": place, "snr_db": snr_db}
                rows.append({**row, **compare(classifier, name, scene, truth, grid)})
                print(json.dumps(rows[-1]), flush=True)
    return rows


def unknown(data: Path) -> list[dict[str, Any]]:
    """What `esc10` makes of ESC-50's 40 other classes; no clip lies in two scenes."""
    name, rows = "esc10", []
    with gmme_edge.load(name, threads=1) as classifier:
        rate = classifier.sample_rate_hz
        grid = make_grid(rate, classifier.window_samples, HOP_MS[name])
        sounds = iter(unknown_clips(data, rate))
        for place in PLACES:
            noise = background(data, place, rate, UNKNOWN_S * rate)
            for snr_db in SNRS_DB:
                scene, truth = make_scene(noise, sounds, snr_db, rate, UNKNOWN_PAUSE_S)
                mask, found = find_both(classifier, name, scene, grid)
                named = [sum(any(meets(e, t, rate) for e in each) for t in truth) for each in found]
                rows.append({"background": place, "snr_db": snr_db, "clips": len(truth),
                             "windows": len(mask), "computed": int(mask.sum()),
                             "never_computed": never_computed(mask, truth, grid),
                             "named": named[0], "named_gated": named[1],
                             "named_interval": wilson_interval(named[0], len(truth))})  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
    return rows


def unknown_clips(data: Path, rate_hz: int) -> Iterator[tuple[str, Sound]]:
    with (data / "ESC-50-16k/meta/esc50.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["fold"] == "5" and r["esc10"] == "False"]
    for index in np.random.default_rng(2).permutation(len(rows)):
        path = data / "ESC-50-16k/audio" / rows[index]["filename"]
        yield rows[index]["category"], trimmed(read_audio(path, rate_hz))


def meets(event: Event, truth: Truth, rate_hz: int) -> bool:
    """From the onset to 1 s after the end."""
    return event.start_sample < truth.end + rate_hz and event.end_sample > truth.start


def find_both(
    classifier: gmme_edge.Classifier, name: str, scene: Sound, grid: WindowGrid
) -> tuple[NDArray[np.bool_], list[list[Event]]]:
    """Which windows the gate lets through, and the events without it and with it."""
    found = classify_windows(classifier, scene, grid.starts(len(scene)))
    mask = gate_mask(scene, grid, GateRules())
    gated = np.where(mask[:, None], found, np.nan)
    return mask, [
        list(find_events(each, len(scene), classifier.labels, grid, RULES[name]))
        for each in (found, gated)
    ]


def never_computed(mask: NDArray[np.bool_], truth: list[Truth], grid: WindowGrid) -> int:
    """Clips without a window that the gate lets through."""
    starts = [grid.start(index) for index in np.flatnonzero(mask)]
    return sum(
        not any(at < t.end and at + grid.window_samples > t.start for at in starts) for t in truth
    )


def compare(
    classifier: gmme_edge.Classifier, name: str, scene: Sound, truth: list[Truth], grid: WindowGrid
) -> dict[str, Any]:
    rate = grid.sample_rate_hz
    mask, events = find_both(classifier, name, scene, grid)
    results = [judge(each, truth, rate) for each in events]
    (all_hits, all_alarms), (gate_hits, gate_alarms) = results
    lost = sum(a and not b for a, b in zip(all_hits, gate_hits, strict=True))
    return {
        "events": len(truth),
        "windows": len(mask),
        "computed": int(mask.sum()),
        "hits": sum(all_hits),
        "hits_gated": sum(gate_hits),
        "lost_to_gate": lost,
        "never_computed": never_computed(mask, truth, grid),
        "alarms": all_alarms,
        "alarms_gated": gate_alarms,
        "hours": len(scene) / rate / 3600,
        "recall": sum(all_hits) / max(1, len(truth)),
        "recall_interval": wilson_interval(sum(all_hits), len(truth)),
    }


def nothing(name: str) -> list[dict[str, Any]]:
    """Sounds without an event: how often the network is asked, and what it then claims."""
    rows = []
    with gmme_edge.load(name, threads=1) as classifier:
        rate = classifier.sample_rate_hz
        grid = make_grid(rate, classifier.window_samples, HOP_MS[name])
        for kind, sound in empty_sounds(rate, 120).items():
            print(kind, flush=True)
            row = compare(classifier, name, sound, [], grid)
            wanted = ("windows", "computed", "alarms", "alarms_gated", "hours")
            rows.append({"network": name, "sound": kind, **{k: row[k] for k in wanted}})
    return rows


def empty_sounds(rate_hz: int, seconds: int) -> dict[str, Sound]:
    rng, n = np.random.default_rng(3), rate_hz * seconds
    t = np.arange(n) / rate_hz
    white = rng.standard_normal(n)
    spectrum = np.fft.rfft(white) / np.sqrt(np.maximum(1, np.arange(n // 2 + 1)))
    pink = np.fft.irfft(spectrum, n)
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 5))
    made = {
        "digital silence": np.zeros(n),
        "dither": rng.integers(-1, 2, n) / 32768,
        "mains hum, -30 dBFS": hum / np.sqrt(np.mean(hum**2)) * 10**-1.5 + 1e-4 * white,
        "white noise, -40 dBFS": white * 1e-2,
        "pink noise, -30 dBFS": pink / np.sqrt(np.mean(pink**2)) * 10**-1.5,
    }
    return {kind: sound.astype(np.float32) for kind, sound in made.items()}


def real_time(name: str, seconds: int = 20) -> dict[str, Any]:
    """CPU share at a hop of 100 ms with every window computed; cold start and first call."""
    begun = time.perf_counter()
    classifier = gmme_edge.load(name, threads=1)
    loaded = time.perf_counter()
    rate = classifier.sample_rate_hz
    classifier.probabilities(np.zeros(classifier.window_samples, np.float32), rate)
    first = time.perf_counter()
    stream = gmme_edge.Stream(classifier, 100, gate=None)
    sound = (np.random.default_rng(0).standard_normal(seconds * rate) * 0.1).astype(np.float32)
    cpu, calls = time.process_time(), []
    for chunk in np.split(sound, seconds * 10):
        before = time.perf_counter()
        stream.push(chunk, rate)
        calls.append(time.perf_counter() - before)
    used = time.process_time() - cpu
    return {
        "network": name,
        "load_s": loaded - begun,
        "first_call_s": first - loaded,
        "median_push_ms": 1000 * float(np.median(calls[len(calls) // 2 :])),
        "p99_push_ms": 1000 * float(np.quantile(calls, 0.99)),
        "cpu_share": used / (stream.computed * 0.1),
    }


def ten_hours() -> dict[str, Any]:
    """Resident memory while ten hours pass, chunk by chunk, most of them quiet."""
    classifier = gmme_edge.load("digits", threads=1)
    rate = classifier.sample_rate_hz
    stream = gmme_edge.Stream(classifier, 1000)
    rng = np.random.default_rng(0)
    quiet = rng.standard_normal(60 * rate).astype(np.float32) * 1e-3
    loud = quiet.copy()
    loud[10 * rate : 12 * rate] += np.sin(np.arange(2 * rate) / 5).astype(np.float32) * 0.1
    curve, events = [], 0
    for minute in range(600):
        for chunk in np.split(loud if minute % 5 == 0 else quiet, 120):
            events += len(stream.push(chunk, rate))
        if minute % 60 == 0:
            curve.append(round(resident_mb(), 1))
    curve.append(round(resident_mb(), 1))
    counts = {"windows": stream.windows, "computed": stream.computed, "events": events}
    return {"resident_mb_each_hour": curve, **counts}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    model = next(named, platform.processor())
    return {"cpu": model, "cores": os.cpu_count(), "load_average": os.getloadavg()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=("scenes", "unknown", "nothing", "real-time", "memory"))
    parser.add_argument("-o", "--output", type=Path, default=Path("streaming.json"))
    options = parser.parse_args()
    parts = {
        "scenes": lambda: scenes("digits", options.data) + scenes("esc10", options.data),
        "unknown": lambda: unknown(options.data),
        "nothing": lambda: nothing("digits") + nothing("esc10"),
        "real-time": lambda: [real_time("digits"), real_time("esc10")],
        "memory": ten_hours,
    }
    result: dict[str, Any] = {"machine": machine()}
    if options.only:
        result[options.only] = parts[options.only]()
    else:  # a process each, so that memory and cold starts are their own
        for part in parts:
            own = Path(f"{options.output}.{part}")
            command = [sys.executable, __file__, "--data", str(options.data), "--only", part]
            subprocess.run([*command, "-o", str(own)], check=True)
            result.update(json.loads(own.read_text()))
            own.unlink()
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
