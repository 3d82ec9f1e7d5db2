"""`gmme-edge evaluate`: the accuracy of a checkpoint or a bundle on a data set's split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.cli.options import (
    CacheOption,
    DataOption,
    DatasetOption,
    FoldOption,
    JsonOption,
    SkipBadOption,
    ThreadsOption,
    load_split,
    task_updater,
)
from gmme_edge.errors import DatasetError, GateError, UsageError, require
from gmme_edge.pretrained import resolve

if TYPE_CHECKING:
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
    precision: Annotated[str | None, typer.Option(help="Of a bundle; default fp32.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Of a bundle; default ort-cpu. A checkpoint runs on torch; what is both does so "
            "with --backend torch."
        ),
    ] = None,
    threads: ThreadsOption = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail below this, 0 to 1.")
    ] = None,
    cache: CacheOption = None,
    skip_bad: SkipBadOption = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Result JSON.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Also note the accuracy in the bundle's manifest.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Top-1 accuracy with a 95 % interval, per class, and the confusion matrix."""
    from gmme_edge.cli.console import emit_json, progress
    from gmme_edge.data.registry import open_dataset
    from gmme_edge.evaluation import score_store
    from gmme_edge.files import write_json
    from gmme_edge.report.results import accuracy_document

    folder = resolve(artifact)
    if record and _runs_on_torch(folder, backend):
        raise UsageError(f"{artifact} is a checkpoint; --record is for a bundle's manifest.")
    runner = _open(folder, backend, precision, threads)
    opened = open_dataset(dataset, data, fold)
    if opened.labels != runner.labels:
        raise DatasetError(
            f"{dataset} has other classes than {artifact}: "
            f"{_first_difference(opened.labels, runner.labels)}.",
            "the classes that the model was trained on, in the same order.",
        )
    store = load_split(opened, split, runner.spec.sample_rate_hz, cache, skip_bad)
    with progress() as bar:
        update = task_updater(bar.add_task, bar.update, f"{runner.precision} on {runner.backend}")
        result = score_store(runner.predict, store, runner.spec.n_samples, runner.labels, update)
    where = {"dataset": dataset, "split": split, "fold": fold}
    document = accuracy_document(runner.spec, result, where, runner.backend, runner.precision)
    if output:
        write_json(output, document)
    if record:
        _record(folder, document)
    if json:
        emit_json(document)
    else:
        _show(document, result)
    if min_accuracy is not None and result.accuracy < min_accuracy:
        raise GateError(
            f"Accuracy {result.accuracy:.4f}.", f"at least {min_accuracy} (--min-accuracy)."
        )


class _Runner:
    """An artifact that was opened for evaluation."""

    def __init__(
        self, spec: ModelSpec, labels: tuple[str, ...], predict: Predict, backend: str,
        precision: str,
    ) -> None:  # fmt: skip
        self.spec, self.labels, self.predict = spec, labels, predict
        self.backend, self.precision = backend, precision


def _runs_on_torch(artifact: Path, backend: str | None) -> bool:
    """Whether it is a checkpoint; a folder that is a bundle too is one if torch was asked for."""
    is_bundle = (artifact / "manifest.json").is_file()
    return (artifact / "model.json").is_file() and (backend == "torch" or not is_bundle)


def _open(
    artifact: Path, backend: str | None, precision: str | None, threads: int | None
) -> _Runner:
    if _runs_on_torch(artifact, backend):
        return _open_checkpoint(artifact, backend, precision, threads)
    from gmme_edge.runtime.bundle import Bundle
    from gmme_edge.runtime.session import open_session

    bundle = Bundle.open(artifact)
    chosen, where = precision or bundle.default_precision, backend or "ort-cpu"
    session = open_session(bundle, where, chosen, threads)
    spec, labels = bundle.manifest.model, bundle.manifest.labels
    return _Runner(
        spec, labels, lambda batch: session.run(batch)["logits"], where, session.precision
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


def _first_difference(have: tuple[str, ...], want: tuple[str, ...]) -> str:
    if len(have) != len(want):
        return f"{len(have)} classes, not {len(want)}"
    i = next(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
    return f"class {i} is {have[i]!r}, not {want[i]!r}"


def _record(artifact: Path, document: dict[str, Any]) -> None:
    """Note what was measured, on what, in the manifest of a bundle."""
    from dataclasses import replace

    from gmme_edge.runtime.bundle import Bundle

    bundle = Bundle.open(artifact)
    facts = ("dataset", "split", "fold", "backend", "accuracy", "interval", "n")
    noted = {document["precision"]: {name: document[name] for name in facts}}
    accuracy = {**bundle.manifest.accuracy, **noted}
    replace(bundle, manifest=replace(bundle.manifest, accuracy=accuracy)).save_manifest()


def _show(record: dict[str, Any], result: Score) -> None:
    from rich.table import Table

    from gmme_edge.cli.console import stdout

    low, high = result.interval
    stdout.print(
        f"{record['model']}, {record['precision']} on {record['backend']}: "
        f"accuracy {result.accuracy:.2%} (95 % interval {low:.1%} to {high:.1%}) "
        f"on {result.n} {record['split']} clips",
        soft_wrap=True,
    )
    table = Table("class")
    for heading in ("clips", "accuracy", "most often taken for"):
        table.add_column(heading, justify="right")
    for index, (label, figures) in enumerate(result.per_class.items()):
        wrong = result.confusion[index].copy()
        wrong[index] = 0
        confused = f"{list(result.per_class)[int(wrong.argmax())]} ({wrong.max()})"
        accuracy = figures["accuracy"]
        table.add_row(
            label, str(figures["n"]), "–" if accuracy is None else f"{accuracy:.1%}",
            confused if wrong.max() else "",
        )  # fmt: skip
    stdout.print(table)
