"""What computing only the new part of each window saves, and what holding the scale costs.

    python benchmarks/incremental.py --data FOLDER [--only time|level|scenes] [-o FILE]

- **time**: a step and a whole window in turns, one thread, a hop of about a tenth of a window.
- **level**: the accuracy on test clips whose scale is off by so many decibels.
- **scenes**: how often the scale holds, by how far it may be off, in field recordings and in scenes
  of test clips over them; and the events, beside those of whole windows that are scaled one by one.

FOLDER is that of `benchmarks/streaming.py`; `time` needs none.
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

UNTRAINED = ("eat-s-aa", "eat-s-gmme-lite-k32c8", "eat-s-edge-gmme-lite-k32c8")
HOPS = (11, 22, 28)  # tokens of 112: a tenth, a fifth, a quarter of a window
LEVELS_DB = (-6, -3, -2, -1, 0, 1, 2, 3, 6)
HOLDS_DB = (0, 1, 2, 3, 6)
TEST_SETS = {"esc10": ("esc10", "ESC-10", 5), "digits": ("speech-commands", "FSDD", None)}
SNRS_DB = (-5, 5, 20)


def times(repetitions: int) -> list[dict[str, Any]]:
    """Milliseconds of a whole window and of its new part, and their ratio with its interval."""
    rows = []
    for checkpoint in networks():
        for tokens in HOPS:
            hop_samples = tokens * checkpoint.spec.stride
            with tempfile.TemporaryDirectory() as folder:
                bundle = export(checkpoint, Path(folder) / "bundle", hop_samples)
                calls = two_calls(bundle)
                samples = interleave(calls, repetitions)
            ratio, interval = paired_ratio(samples["step"], samples["whole"])
            medians = {f"{name}_ms": 1000 * float(np.median(s)) for name, s in samples.items()}
            rows.append({"network": checkpoint.spec.name, "hop_samples": hop_samples, **medians,
                         "hop_of_window": hop_samples / checkpoint.spec.n_samples,
                         "ratio": ratio, "interval": interval})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def networks() -> Iterator[Checkpoint]:
    yield open_checkpoint("esc10")
    for name in UNTRAINED:
        spec = preset(name, "esc50")
        yield untrained_checkpoint(spec, synthetic_clips(spec).waveforms[:])


def export(checkpoint: Checkpoint, folder: Path, hop_samples: int) -> Bundle:
    options = ExportOptions(("fp32",), incremental_hop_samples=hop_samples, untrained=True)
    return export_bundle(checkpoint, folder, options, synthetic_clips(checkpoint.spec).waveforms[:])


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


def scenes(data: Path) -> list[dict[str, Any]]:
    """`esc10`, a window every tenth: how often frames are kept, and what becomes of the events."""
    name, rules = "esc10", streaming.RULES["esc10"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = open_checkpoint(name)
        spec = checkpoint.spec
        bundle = export(checkpoint, Path(folder) / "bundle", HOPS[0] * spec.stride)
        sounds = streaming.clips(name, data, spec.sample_rate_hz)
        n_samples = streaming.SECONDS[name] * spec.sample_rate_hz
        for place in streaming.PLACES:
            noise = streaming.background(data, place, spec.sample_rate_hz, n_samples)
            for snr_db in (None, *SNRS_DB):
                scene, truth = noise, []
                if snr_db is not None:
                    scene, truth = streaming.make_scene(
                        noise, sounds, snr_db, spec.sample_rate_hz, streaming.PAUSE_S[name]
                    )
                row = {"background": place, "snr_db": snr_db, "clips": len(truth)}
                rows.append(row | _hear(bundle.path, scene, truth, rules))
                print(rows[-1], flush=True)
    return rows


def _hear(
    bundle: Path, scene: streaming.Sound, truth: list[streaming.Truth], rules: gmme_edge.EventRules
) -> dict[str, Any]:
    rate = Bundle.open(bundle).manifest.model.sample_rate_hz
    found: dict[str, Any] = {"held": {}, "hits": {}, "alarms": {}, "largest_difference": {}}
    with gmme_edge.load(bundle, threads=1) as whole:
        hop_samples = HOPS[0] * Bundle.open(bundle).manifest.model.stride
        grid = make_grid(rate, whole.window_samples, None, hop_samples)
        starts = grid.starts(len(scene))
        reference = classify_windows(whole, scene, starts)
    peaks = [float(np.abs(scene[at : at + grid.window_samples]).max()) for at in starts]
    for hold_db in HOLDS_DB:
        found["held"][hold_db] = held_share(peaks, hold_db)
    for hold_db in (None, 2.0):
        probabilities = reference
        if hold_db is not None:
            with gmme_edge.load_incremental(bundle, 1, hold_db) as follower:
                windows = (scene[at : at + grid.window_samples] for at in starts)
                probabilities = np.array(
                    [follower.probabilities_at(np.ascontiguousarray(w), at)
                     for w, at in zip(windows, starts, strict=True)]
                )  # fmt: skip
        events = list(find_events(probabilities, len(scene), whole.labels, grid, rules))
        hits, alarms = streaming.judge(events, truth, rate)
        key = "off" if hold_db is None else str(hold_db)
        found["hits"][key], found["alarms"][key] = sum(hits), alarms
        found["largest_difference"][key] = float(np.abs(probabilities - reference).max())
    return found | {"windows": len(starts)}


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
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.data is None and options.only != "time":
        parser.error("--data is needed for level and scenes")
    parts: dict[str, Callable[[], object]] = {
        "time": lambda: times(options.repetitions),
        "level": lambda: levels(options.data),
        "scenes": lambda: scenes(options.data),
    }
    result: dict[str, Any] = {"device": describe_device()}
    for name in [options.only] if options.only else parts:
        result[name] = parts[name]()
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
