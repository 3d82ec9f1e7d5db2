"""`gmme-edge demo`: a shipped model listens, then the whole chain runs; no data set, no GPU."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.cli.options.common import JsonOption, ThreadsOption, task_updater
from gmme_edge.errors import require

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.report.compare import Comparison
    from gmme_edge.training.run.loop import TrainingData

_MODELS = ("eat-s-aa", "eat-s-gmme-k32c8")
_LISTENER = "esc10"
_SAMPLE_RATE_HZ, _N_SAMPLES, _FACTORS = 8000, 8192, (4, 4, 4)
_TRAIN_PER_CLASS, _TEST_PER_CLASS = 32, 20
_ENGINE_SM = 89


def demo(
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for checkpoints, bundles, results.",
            rich_help_panel="Output",
        ),
    ] = Path("gmme-edge-demo"),
    epochs: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="5 take about a minute on 2 cores.", rich_help_panel="Training"
        ),
    ] = 5,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Hear what a shipped model hears; then train, export, quantize, build, verify and compare.

    The first part takes a few seconds and needs no torch. In the second, ten classes of synthetic
    sounds (sweeps, bells, sirens, clicks, …) stand in for a data set, on which a GMME and an AA
    network are trained. Running it again continues where it was stopped.
    """
    require("onnxruntime", "run the demo")
    _listen(threads)
    torch = require("torch", "train")
    for module in ("safetensors", "onnx", "onnxscript"):
        require(module, "run the demo")
    from gmme_edge.cli.views.console import emit_json, stderr, stdout
    from gmme_edge.report.render.terminal import comparison_tables
    from gmme_edge.training.run.loop import TrainingData

    if threads:
        torch.set_num_threads(threads)
    start = time.monotonic()
    stderr.print(f"10 classes of synthetic sounds, {_TRAIN_PER_CLASS * 10} to train on")
    train, test = (_sounds(_TRAIN_PER_CLASS, seed=0), _sounds(_TEST_PER_CLASS, seed=1))
    data = TrainingData(train, None, _labels(), {"dataset": "synthetic", "seed": 0})
    bundles = [_make_bundle(name, data, output, epochs) for name in _MODELS]
    comparison = _compare(bundles, test, output, threads)
    if json:
        emit_json(comparison.to_dict())
    else:
        stdout.print(comparison_tables(comparison))
    stderr.print("A minute of training shows the chain, not what the networks can do.")
    stderr.print(f"Done in {time.monotonic() - start:.0f} s; everything is in {output}. Try:")
    stderr.print(f"  gmme-edge verify {bundles[1].path}", soft_wrap=True)
    stderr.print(f"  gmme-edge predict {bundles[1].path} SOME.wav", soft_wrap=True)


def _listen(threads: int | None) -> None:
    """A shipped model classifies imitations of everyday sounds, torch-free."""
    from rich.table import Table

    from gmme_edge.cli.views.console import stderr
    from gmme_edge.data.everyday import imitate
    from gmme_edge.runtime.classifier import load

    table = Table("imitation of", f"{_LISTENER} hears", "probability", "in")
    with load(_LISTENER, threads=threads) as classifier:
        rate = classifier.sample_rate_hz
        for name, waveform in imitate(rate).items():
            classifier(waveform, rate)  # the first call of a session is slower
            start = time.perf_counter()
            (best,) = classifier(waveform, rate, top_k=1)
            took = f"{(time.perf_counter() - start) * 1e3:.0f} ms"
            table.add_row(name, best.label, f"{best.probability:.0%}", took)
    stderr.print(table)
    stderr.print("Imitations of 5 s, computed here; the network was trained on recordings.")
    stderr.print(f"Yours: gmme-edge predict {_LISTENER} SOME.wav\n", soft_wrap=True)


def _sounds(clips_per_class: int, seed: int) -> WaveformStore:
    from gmme_edge.data.synthetic import make_synthetic

    return make_synthetic(clips_per_class, _SAMPLE_RATE_HZ, _N_SAMPLES, seed)


def _labels() -> tuple[str, ...]:
    from gmme_edge.data.synthetic import LABELS

    return LABELS


def _make_bundle(model: str, data: TrainingData, output: Path, epochs: int) -> Bundle:
    """Train, export with an engine where TensorRT-RTX is installed, and verify."""
    from gmme_calibration.sample import calibration_set
    from gmme_edge.cli.views.console import stderr
    from gmme_edge.cli.views.export import describe_bundle
    from gmme_edge.cli.views.observer import watch
    from gmme_edge.cli.views.training import show_training
    from gmme_edge.models.checkpoint import load_checkpoint
    from gmme_edge.runtime.backends import open_session, runnable_precisions
    from gmme_edge.runtime.parity import verify_bundle
    from gmme_edge.spec import Task, preset
    from gmme_edge.training.recipe import Recipe
    from gmme_edge.training.run.loop import Trainer
    from gmme_edge.workflows.exporting import Material, write_bundle
    from gmme_exporters.options import ExportOptions, expand_precisions
    from gmme_exporters.tensorrt.build import EngineOptions

    spec = preset(model, Task("demo", _SAMPLE_RATE_HZ, _N_SAMPLES, _FACTORS, len(data.labels)))
    recipe = Recipe(  # a hundred steps are too few for augmentation to pay
        epochs, batch_size=16, max_lr=1e-3, ema_decay=0.9, ema_unit="step", augment=False
    )
    trainer = Trainer(spec, data, recipe, output / f"{model}-checkpoint")
    show_training(trainer, f"train {model}")
    figures = trainer.state.history[-1]
    stderr.print(
        f"{model}: {trainer.state.step} steps, training accuracy {figures['accuracy']:.1%}"
    )
    engines = (EngineOptions("tensorrt-rtx", _ENGINE_SM),) if find_spec("tensorrt_rtx") else ()
    if not engines:
        stderr.print("no engine: tensorrt-rtx is not installed", style="yellow")
    options = ExportOptions(expand_precisions("fp32,fp16,int8"), engines=engines, force=True)
    clips = calibration_set(data.train, data.labels, spec.n_samples, "synthetic, train", seed=0)
    trained = load_checkpoint(output / f"{model}-checkpoint")
    with watch() as observer:
        bundle = write_bundle(
            trained, output / f"{model}-bundle", options, Material(clips), observer
        )
    verify_bundle(
        bundle,
        lambda name: open_session(bundle, "ort-cpu", name),
        runnable_precisions(bundle, "ort-cpu"),
    )
    describe_bundle(bundle, stderr)
    stderr.print("verified: every file's hash, and the outputs on the golden vectors")
    return bundle


def _compare(
    bundles: list[Bundle], test: WaveformStore, output: Path, threads: int | None
) -> Comparison:
    """Accuracy and interleaved latency of FP32 and INT8, as one report."""
    from gmme_edge.cli.views.console import progress
    from gmme_edge.evaluation import score_store
    from gmme_edge.files import write_json
    from gmme_edge.profiling.contenders import Counts, list_contenders
    from gmme_edge.profiling.latency import measure
    from gmme_edge.profiling.rounds import LatencySettings
    from gmme_edge.report.compare import compare_results
    from gmme_edge.report.documents import accuracy_document, latency_document, load_result
    from gmme_edge.report.render.markdown import write_report
    from gmme_edge.workflows.evaluating import open_predictor

    contenders = list_contenders(bundles, ["ort-cpu"], ["fp32", "int8"], Counts([threads or 1]))
    results = [output / "latency.json"]
    with progress() as bar:
        for contender in contenders:
            spec = contender.bundle.manifest.model
            update = task_updater(
                bar.add_task, bar.update, f"evaluate {spec.name} {contender.precision}"
            )
            with open_predictor(
                contender.bundle, contender.backend, contender.precision, threads
            ) as predict:
                score = score_store(predict, test, spec.n_samples, _labels(), on_progress=update)
            results.append(output / f"accuracy-{spec.name}-{contender.precision}.json")
            where = {"dataset": "synthetic", "split": "test", "fold": None}
            write_json(
                results[-1],
                accuracy_document(
                    spec,
                    score,
                    where,
                    contender.backend,
                    contender.precision,
                    contender.weights_sha256,
                ),
            )
        settings = LatencySettings(repetitions=50)
        rows = measure(contenders, settings, task_updater(bar.add_task, bar.update, "profile"))
    write_json(results[0], latency_document(rows, settings, "gmme-edge demo"))
    comparison = compare_results([load_result(path) for path in results], _MODELS[0])
    write_report(comparison, output / "report.md", "gmme-edge demo")
    return comparison
