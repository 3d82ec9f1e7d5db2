"""`gmme-edge evaluate`: the accuracy of a checkpoint or a bundle on a data set's split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options.common import (
    CacheOption,
    DataOption,
    DatasetOption,
    FoldOption,
    JsonOption,
    SkipBadOption,
    ThreadsOption,
    check_labels,
    load_split,
    task_updater,
)
from gmme_edge.cli.options.gates import MinAccuracyOption, check_accuracy
from gmme_edge.errors import UsageError, require
from gmme_edge.pretrained import resolve

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.evaluation import Predict
    from gmme_edge.scoring import Score
    from gmme_edge.spec import ModelSpec


def evaluate(
    artifact: Annotated[
        str, typer.Argument(help="A checkpoint, a bundle, or a shipped model's name.")
    ],
    dataset: DatasetOption,
    data: DataOption,
    fold: FoldOption = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of a bundle; default fp32. After the first of fp32,int8 come label flips."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="A result on the same clips, to count label flips against instead."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Of a bundle; default ort-cpu. A checkpoint runs on torch; what is both does so "
            "with --backend torch."
        ),
    ] = None,
    threads: ThreadsOption = None,
    min_accuracy: MinAccuracyOption = None,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Result JSON.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Also note the accuracy in the bundle's manifest.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Top-1 accuracy with a 95 % interval, by class and level; confusion matrix; label flips.

    Of several precisions each result goes to a file of its own: r.fp32.json for -o r.json.
    """
    from gmme_edge.cli.views.accuracy import show_score
    from gmme_edge.cli.views.console import emit_json
    from gmme_edge.data.levels import name_levels
    from gmme_edge.data.registry import open_dataset
    from gmme_edge.files import write_json
    from gmme_edge.report.documents import accuracy_document
    from gmme_edge.report.flips import count_flips
    from gmme_edge.report.paired import load_tested

    folder = resolve(artifact)
    if record and _runs_on_torch(folder, backend):
        raise UsageError(f"{artifact} is a checkpoint; --record is for a bundle's manifest.")
    reference = (str(against), load_tested(against).pooled) if against else None
    runners = _open(folder, backend, precision, threads)
    opened = open_dataset(dataset, data, fold)
    check_labels(dataset, opened.labels, artifact, runners[0].labels)
    store = load_split(opened, split, runners[0].spec.sample_rate_hz, cache, skip_bad)
    levels = name_levels(store, runners[0].spec.n_samples)
    where = {"dataset": dataset, "split": split, "fold": fold}
    documents, scores = [], {}
    for runner in runners:
        score = _score(runner, store, levels)
        document = accuracy_document(runner.spec, score, where, runner.backend, runner.precision)
        assert score.predictions is not None
        flips = None
        if reference:
            flips = count_flips(reference[1], score.predictions, runner.labels, reference[0])
            document["flips"] = flips.to_dict()
        reference = reference or (runner.name, score.predictions)
        documents.append(document)
        scores[runner.name] = score
        if output:
            write_json(_output_of(output, runner.precision, len(runners)), document)
        if record:
            _record(folder, document)
        if not json:
            show_score(document, score, flips)
    if json:
        emit_json(documents if len(documents) > 1 else documents[0])
    check_accuracy(scores, min_accuracy)


def _score(runner: _Runner, store: WaveformStore, levels: tuple[str, ...]) -> Score:
    from gmme_edge.cli.views.console import progress
    from gmme_edge.evaluation import score_store

    with progress() as bar:
        update = task_updater(bar.add_task, bar.update, runner.name)
        return score_store(
            runner.predict, store, runner.spec.n_samples, runner.labels, update, levels
        )


def _output_of(output: Path, precision: str, n_precisions: int) -> Path:
    if n_precisions == 1:
        return output
    return output.with_name(f"{output.stem}.{precision}{output.suffix}")


class _Runner:
    """An artifact that was opened for evaluation."""

    def __init__(
        self, spec: ModelSpec, labels: tuple[str, ...], predict: Predict, backend: str,
        precision: str,
    ) -> None:  # fmt: skip
        self.spec, self.labels, self.predict = spec, labels, predict
        self.backend, self.precision = backend, precision
        self.name = f"{precision} on {backend}"


def _runs_on_torch(artifact: Path, backend: str | None) -> bool:
    """Whether it is a checkpoint; a folder that is a bundle too is one if torch was asked for."""
    is_bundle = (artifact / "manifest.json").is_file()
    return (artifact / "model.json").is_file() and (backend == "torch" or not is_bundle)


def _open(
    artifact: Path, backend: str | None, precision: str | None, threads: int | None
) -> list[_Runner]:
    """What is to be evaluated, one entry per precision."""
    if _runs_on_torch(artifact, backend):
        return [_open_checkpoint(artifact, backend, precision, threads)]
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.runtime.backends import resolve_precision

    bundle = Bundle.open(artifact)
    names = [name.strip() for name in (precision or bundle.default_precision).split(",")]
    where = backend or "ort-cpu"
    chosen = dict.fromkeys(resolve_precision(name, where) for name in names)
    return [_open_precision(bundle, where, name, threads) for name in chosen]


def _open_precision(bundle: Bundle, backend: str, precision: str, threads: int | None) -> _Runner:
    from gmme_edge.runtime.backends import open_session

    session = open_session(bundle, backend, precision, threads)
    spec, labels = bundle.manifest.model, bundle.manifest.labels
    return _Runner(
        spec, labels, lambda batch: session.run(batch)["logits"], backend, session.precision
    )


def _open_checkpoint(
    artifact: Path, backend: str | None, precision: str | None, threads: int | None
) -> _Runner:
    if precision not in (None, "fp32") or backend not in (None, "torch"):
        raise UsageError(
            f"{artifact} is a checkpoint, and {precision or 'fp32'} on {backend or 'torch'} "
            "was asked for.",
            "fp32 on torch for a checkpoint.",
            "export it to a bundle with `gmme-edge export` first.",
        )
    torch = require("torch", "evaluate a checkpoint")
    require("safetensors", "read a checkpoint")
    from gmme_edge.models.checkpoint import load_checkpoint
    from gmme_edge.models.eat import torch_predictor

    if threads:
        torch.set_num_threads(threads)
    checkpoint = load_checkpoint(artifact)
    predict = torch_predictor(checkpoint.model)
    return _Runner(checkpoint.spec, checkpoint.labels, predict, "torch", "fp32")


def _record(artifact: Path, document: dict[str, Any]) -> None:
    """Note what was measured, on what, in the manifest of a bundle."""
    from dataclasses import replace

    from gmme_edge.bundle.bundle import Bundle

    bundle = Bundle.open(artifact)
    facts = ("dataset", "split", "fold", "backend", "accuracy", "interval", "n")
    noted = {document["precision"]: {name: document[name] for name in facts}}
    accuracy = {**bundle.manifest.accuracy, **noted}
    replace(bundle, manifest=replace(bundle.manifest, accuracy=accuracy)).save_manifest()
