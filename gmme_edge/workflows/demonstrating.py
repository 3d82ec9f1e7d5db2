"""The whole chain on sounds that are made on the fly, a step at a time, as `demo` shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.observer import SILENT, Observer
from gmme_edge.workflows.training_observer import TrainingObserver

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.report.compare import Comparison
    from gmme_edge.training.run.loop import Trainer

NETWORKS = ("eat-s-aa", "eat-s-gmme-k32c8")
LISTENER = "esc10"
_TRAIN_PER_CLASS, _TEST_PER_CLASS = 32, 20
_SAMPLE_RATE_HZ, _N_SAMPLES, _FACTORS = 8000, 8192, (4, 4, 4)
_ENGINE_SM = 89


@dataclass(frozen=True)
class Imitation:
    """What the shipped model makes of one imitated sound."""

    name: str
    label: str
    probability: float
    took_s: float


def hear_imitations(threads: int | None) -> Iterator[Imitation]:
    """A shipped model classifies imitations of everyday sounds, torch-free."""
    from gmme_edge.data.everyday import imitate
    from gmme_edge.runtime.classifier import load

    with load(LISTENER, threads=threads) as classifier:
        rate = classifier.sample_rate_hz
        for name, waveform in imitate(rate).items():
            classifier(waveform, rate)  # the first call of a session is slower
            start = time.perf_counter()
            (best,) = classifier(waveform, rate, top_k=1)
            yield Imitation(name, best.label, best.probability, time.perf_counter() - start)


def train_network(
    name: str, output: Path, epochs: int, observer: TrainingObserver | None = None
) -> Trainer:
    """Train a small network on ten classes of synthetic sounds; goes on where it was stopped."""
    from gmme_edge.data.synthetic import LABELS
    from gmme_edge.spec import Task, preset
    from gmme_edge.training.recipe import Recipe
    from gmme_edge.training.run.loop import Trainer, TrainingData
    from gmme_edge.workflows.training import run_trainer

    observer = observer or TrainingObserver()
    observer.stage("prepare the network")
    sounds = _sounds(_TRAIN_PER_CLASS, seed=0)
    data = TrainingData(sounds, None, LABELS, {"dataset": "synthetic", "seed": 0})
    spec = preset(name, Task("demo", _SAMPLE_RATE_HZ, _N_SAMPLES, _FACTORS, len(LABELS)))
    recipe = Recipe(  # a hundred steps are too few for augmentation to pay
        epochs, batch_size=16, max_lr=1e-3, ema_decay=0.9, ema_unit="step", augment=False
    )
    trainer = Trainer(spec, data, recipe, output / f"{name}-checkpoint")
    run_trainer(trainer, f"train {name}", observer)
    return trainer


def make_bundle(trainer: Trainer, output: Path, observer: Observer = SILENT) -> Bundle:
    """Export what was trained, with an engine where TensorRT-RTX is installed, and verify it."""
    from gmme_calibration.sample import calibration_set
    from gmme_edge.models.checkpoint import load_checkpoint
    from gmme_edge.runtime.backends import open_session, runnable_precisions
    from gmme_edge.runtime.parity import verify_bundle
    from gmme_edge.workflows.exporting import Material, write_bundle
    from gmme_exporters.options import ExportOptions, expand_precisions
    from gmme_exporters.tensorrt.build import EngineOptions

    data, n_samples = trainer.data, trainer.spec.n_samples
    engines = (EngineOptions("tensorrt-rtx", _ENGINE_SM),) if find_spec("tensorrt_rtx") else ()
    if not engines:
        observer.note("no engine: tensorrt-rtx is not installed")
    options = ExportOptions(expand_precisions("fp32,fp16,int8"), engines=engines, force=True)
    clips = calibration_set(data.train, data.labels, n_samples, "synthetic, train", seed=0)
    bundle = write_bundle(
        load_checkpoint(trainer.out),
        output / f"{trainer.spec.name}-bundle",
        options,
        Material(clips),
        observer,
    )
    verify_bundle(
        bundle,
        lambda name: open_session(bundle, "ort-cpu", name),
        runnable_precisions(bundle, "ort-cpu"),
    )
    return bundle


def compare_networks(
    bundles: Sequence[Bundle], output: Path, threads: int | None, observer: Observer = SILENT
) -> Comparison:
    """Accuracy and interleaved latency of FP32 and INT8, as results and one report in `output`."""
    from gmme_edge.files import write_json
    from gmme_edge.profiling.contenders import Counts, list_contenders
    from gmme_edge.profiling.latency import measure
    from gmme_edge.profiling.rounds import LatencySettings
    from gmme_edge.report.compare import compare_results
    from gmme_edge.report.documents import latency_document, load_result
    from gmme_edge.report.render.markdown import write_report

    contenders = list_contenders(bundles, ["ort-cpu"], ["fp32", "int8"], Counts([threads or 1]))
    test = _sounds(_TEST_PER_CLASS, seed=1)
    results = [output / "latency.json"]
    for each in contenders:
        results.append(_score(each.bundle, each.precision, test, output, threads, observer))
    settings = LatencySettings(repetitions=50)
    rows = measure(
        contenders, settings, lambda done, total: observer.progress("profile", done, total)
    )
    write_json(results[0], latency_document(rows, settings, "gmme-edge demo"))
    comparison = compare_results([load_result(path) for path in results], NETWORKS[0])
    write_report(comparison, output / "report.md", "gmme-edge demo")
    return comparison


def _score(
    bundle: Bundle,
    precision: str,
    test: WaveformStore,
    output: Path,
    threads: int | None,
    observer: Observer,
) -> Path:
    """The result file of one precision's accuracy."""
    from gmme_edge.data.synthetic import LABELS
    from gmme_edge.evaluation import score_store
    from gmme_edge.files import write_json
    from gmme_edge.report.documents import accuracy_document
    from gmme_edge.workflows.evaluating import open_predictor

    spec = bundle.manifest.model
    what = f"evaluate {spec.name} {precision}"
    with open_predictor(bundle, "ort-cpu", precision, threads) as predict:
        score = score_store(
            predict,
            test,
            spec.n_samples,
            LABELS,
            on_progress=lambda done, total: observer.progress(what, done, total),
        )
    where = {"dataset": "synthetic", "split": "test", "fold": None}
    weights = bundle.manifest.weights_sha256
    path = output / f"accuracy-{spec.name}-{precision}.json"
    write_json(path, accuracy_document(spec, score, where, "ort-cpu", precision, weights))
    return path


def _sounds(clips_per_class: int, seed: int) -> WaveformStore:
    from gmme_edge.data.synthetic import make_synthetic

    return make_synthetic(clips_per_class, _SAMPLE_RATE_HZ, _N_SAMPLES, seed)
