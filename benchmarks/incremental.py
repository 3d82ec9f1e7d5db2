"""What computing only the new part of each window saves, and what holding the scale costs.

    python benchmarks/incremental.py --data FOLDER [--only time|level|scenes] [--bundles FOLDER]
        [-o FILE]

- **time**: a step and a whole window in turns, one thread, a hop of about a tenth of a window.
- **level**: the accuracy on test clips whose scale is off by so many decibels.
- **scenes**: how often the scale holds, by how far it may be off, in field recordings and in scenes
  of test clips over them; and the events, beside those of whole windows that are scaled one by one.

--data is that of `benchmarks/streaming.py`; `time` needs none. Bundles that are in --bundles are
not exported again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streaming
import torch
from numpy.typing import NDArray

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.registry import open_dataset
from gmme_edge.device.facts import describe_device
from gmme_edge.evaluation import predict_store
from gmme_edge.files import write_json
from gmme_edge.models.checkpoint import Checkpoint, open_checkpoint, untrained_checkpoint
from gmme_edge.models.eat import EAT, peak_scale
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.incremental_graphs import IncrementalGraphs
from gmme_edge.runtime.streaming.events import find_events
from gmme_edge.runtime.streaming.grid import make_grid
from gmme_edge.runtime.streaming.incremental import HeldPeak
from gmme_edge.runtime.streaming.stream import classify_windows
from gmme_edge.spec import preset
from gmme_edge.workflows.clips import load_split
from gmme_edge.workflows.int8 import synthetic_clips
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_exporters.bundle import export_bundle
from gmme_exporters.options import ExportOptions

UNTRAINED = ("eat-s-aa", "eat-s-gmme-k32c8", "eat-s-gmme-lite-k32c8", "eat-s-edge-gmme-lite-k32c8")
HOPS = (11, 22)  # tokens of 112: about a tenth and a fifth of a window
LEVELS_DB = (-6, -3, -2, -1, 0, 1, 2, 3, 6)
HOLDS_DB = (0, 1, 2, 3, 6)
TEST_SETS = {"esc10": ("esc10", "ESC-10", 5), "digits": ("speech-commands", "FSDD", None)}
SNRS_DB = (-5, 5, 20)


def times(folder: Path, repetitions: int) -> list[dict[str, Any]]:
    """Milliseconds of a whole window and of its new part, and their ratio with its interval."""
    rows = []
    for checkpoint in networks():
        for tokens in HOPS:
            hop_samples = tokens * checkpoint.spec.stride
            calls = two_calls(export(checkpoint, folder, hop_samples))
            samples = interleave(calls, repetitions)
            ratio, interval = paired_ratio(samples["step"], samples["whole"])
            medians = {f"{name}_ms": 1000 * float(np.median(s)) for name, s in samples.items()}
            rows.append({"network": checkpoint.spec.name, "hop_samples": hop_samples, **medians,
                         "hop_of_window": hop_samples / checkpoint.spec.n_samples,
                         "ratio": ratio, "interval": interval})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def networks() -> Iterator[Checkpoint]:
    for name in UNTRAINED:
        spec = preset(name, "esc50")
        yield untrained_checkpoint(spec, synthetic_clips(spec).waveforms[:])


def export(checkpoint: Checkpoint, folder: Path, hop_samples: int) -> Bundle:
    out = folder / f"{checkpoint.spec.name}-{checkpoint.spec.n_classes}-{hop_samples}"
    if out.exists():
        return Bundle.open(out)
    options = ExportOptions(("fp32",), incremental_hop_samples=hop_samples, untrained=True)
    return export_bundle(checkpoint, out, options, synthetic_clips(checkpoint.spec).waveforms[:])


def two_calls(bundle: Bundle) -> dict[str, Callable[[], object]]:
    spec = bundle.manifest.model
    session, graphs = open_session(bundle, threads=1), IncrementalGraphs(bundle, 1)
    window = np.random.default_rng(0).uniform(-1, 1, (1, spec.n_samples)).astype(np.float32)
    _, kept = graphs.start(window, 0.95)
    return {"whole": lambda: session.run(window), "step": lambda: graphs.step(window, 0.95, kept)}


def interleave(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each call, in turns; the first three rounds warm up."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(repetitions + 3):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if repetition >= 3:
                samples[name].append(time.perf_counter() - began)
    return samples


def levels(data: Path) -> list[dict[str, Any]]:
    """Accuracy on the test clips by how far their scale is off, and how many classes it changes."""
    rows = []
    for name, (kind, folder, fold) in TEST_SETS.items():
        checkpoint = open_checkpoint(name)
        model, spec = checkpoint.model.eval(), checkpoint.spec
        dataset = open_dataset(kind, data / folder, fold)
        store = load_split(dataset, "test", spec.sample_rate_hz, ClipSettings())
        found = {}
        for level_db in LEVELS_DB:
            predict = partial(off_by, model, 10 ** (level_db / 20))
            found[level_db] = predict_store(predict, store, spec.n_samples).argmax(1)
        labels = np.asarray(store.labels)
        rows += [
            {"network": name, "level_db": level_db, "clips": len(labels),
             "right": int((classes == labels).sum()),
             "changed": int((classes != found[0]).sum())}
            for level_db, classes in found.items()
        ]  # fmt: skip
        print(rows[-len(LEVELS_DB) :], flush=True)
    return rows


@torch.no_grad()
def off_by(model: EAT, factor: float, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of windows that are scaled by a factor too much."""
    scaled = peak_scale(torch.from_numpy(batch)) * factor
    return np.asarray(model(scaled[:, None]).numpy())


def scenes(folder: Path, data: Path) -> list[dict[str, Any]]:
    """`esc10`, a window every tenth: how often frames are kept, and what becomes of the events."""
    name, rules = "esc10", streaming.RULES["esc10"]
    rows = []
    checkpoint = open_checkpoint(name)
    rate_hz = checkpoint.spec.sample_rate_hz
    bundle = export(checkpoint, folder, HOPS[0] * checkpoint.spec.stride)
    sounds = streaming.clips(name, data, rate_hz)
    n_samples = streaming.SECONDS[name] * rate_hz
    for place in streaming.PLACES:
        noise = streaming.background(data, place, rate_hz, n_samples)
        for snr_db in (None, *SNRS_DB):
            scene, truth = noise, []
            if snr_db is not None:
                pauses = streaming.PAUSE_S[name]
                scene, truth = streaming.make_scene(noise, sounds, snr_db, rate_hz, pauses)
            row = {"background": place, "snr_db": snr_db, "clips": len(truth)}
            rows.append(row | hear(bundle, scene, truth, rules))
            print(rows[-1], flush=True)
    return rows


def hear(
    bundle: Bundle,
    scene: streaming.Sound,
    truth: list[streaming.Truth],
    rules: gmme_edge.EventRules,
) -> dict[str, Any]:
    """One scene by whole windows and by incremental ones, every window computed."""
    with gmme_edge.load_incremental(bundle.path, 1) as follower:
        size, rate_hz = follower.window_samples, follower.sample_rate_hz
        grid = make_grid(rate_hz, size, None, follower.hop_samples)
        starts = grid.starts(len(scene))
        windows = [np.ascontiguousarray(scene[at : at + size]) for at in starts]
        pairs = zip(windows, starts, strict=True)
        found = {"incremental": np.array([follower.probabilities_at(w, at) for w, at in pairs])}
    with gmme_edge.load(bundle.path, threads=1) as whole:
        found["whole"] = classify_windows(whole, scene, starts)
    row: dict[str, Any] = {"windows": len(starts)}
    for name, probabilities in found.items():
        events = list(find_events(probabilities, len(scene), whole.labels, grid, rules))
        hits, alarms = streaming.judge(events, truth, rate_hz)
        row[name] = {"hits": sum(hits), "alarms": alarms}
    best = [probabilities.argmax(1) for probabilities in found.values()]
    row["same_label"] = float((best[0] == best[1]).mean())
    peaks = [float(np.abs(window).max()) for window in windows]
    row["held"] = {hold_db: held_share(peaks, hold_db) for hold_db in HOLDS_DB}
    return row


def held_share(peaks: list[float], hold_db: float) -> float:
    """The part of the windows after the first whose scale is that of the one before."""
    rule, held = HeldPeak(hold_db), 0
    rule.peak = peaks[0]
    for peak in peaks[1:]:
        if rule.fits(peak):
            held += 1
        else:
            rule.peak = peak
    return held / (len(peaks) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", choices=("time", "level", "scenes"))
    parser.add_argument("--bundles", type=Path)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.data is None and options.only != "time":
        parser.error("--data is needed for level and scenes")
    parts: dict[str, Callable[[], object]] = {
        "time": lambda: times(folder, options.repetitions),
        "level": lambda: levels(options.data),
        "scenes": lambda: scenes(folder, options.data),
    }
    result: dict[str, Any] = {"device": describe_device()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.bundles or Path(temporary)
        for name in [options.only] if options.only else parts:
            result[name] = parts[name]()
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
