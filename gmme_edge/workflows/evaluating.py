"""The accuracy of a checkpoint or a bundle on clips that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.dataset import count_reasons
from gmme_edge.data.levels import name_levels
from gmme_edge.data.registry import open_dataset
from gmme_edge.data.seen import refuse_seen
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import UsageError, require
from gmme_edge.evaluation import Predict, score_store
from gmme_edge.files import write_json
from gmme_edge.models.description import DESCRIPTION, read_description, unfinished_training
from gmme_edge.observer import SILENT, Observer
from gmme_edge.ownership import claim_result
from gmme_edge.pretrained import resolve
from gmme_edge.public import public
from gmme_edge.report.documents import accuracy_document
from gmme_edge.report.flips import FlipReport, count_flips
from gmme_edge.report.paired import load_tested
from gmme_edge.runtime.backends import find_backend, open_session, resolve_precision
from gmme_edge.scoring import Predictions, Score
from gmme_edge.settings import command_line
from gmme_edge.spec import ModelSpec
from gmme_edge.workflows.clips import check_labels, load_split
from gmme_edge.workflows.settings.evaluating import EvaluationClips, EvaluationSettings

SCHEMA = 1


@dataclass(frozen=True)
class Evaluated:
    """One precision's score, the document that a result file holds, and its flips if any."""

    document: dict[str, Any]
    score: Score
    flips: FlipReport | None

    @property
    def name(self) -> str:
        return f"{self.document['precision']} on {self.document['backend']}"


@dataclass(frozen=True)
class Evaluation:
    """The results in the order in which they were asked for."""

    results: tuple[Evaluated, ...]

    @property
    def scores(self) -> dict[str, Score]:
        return {result.name: result.score for result in self.results}

    def to_dict(self) -> dict[str, Any]:
        """One shape, however many precisions: ``results`` holds what a result file holds."""
        return {
            "schema": SCHEMA,
            "kind": "evaluation",
            "results": [result.document for result in self.results],
        }


@public
def evaluate(
    artifact: str | Path,
    clips: EvaluationClips,
    settings: EvaluationSettings | None = None,
    observer: Observer = SILENT,
) -> Evaluation:
    """Top-1 accuracy with its interval, by class and level, and label flips between precisions.

    Args:
        artifact: a checkpoint, a bundle, or a shipped model's name.

    Raises:
        UsageError: options that contradict each other; clips that the model was trained on,
            unless `clips.allow_seen`.
        DatasetError: other classes than the model's.
    """
    settings = settings or EvaluationSettings()
    folder = resolve(artifact)
    _check(folder, settings)
    reference = _reference(settings.against)
    if runs_on_torch(folder, settings.backend):
        observer.stage("load PyTorch")
    candidates = _candidates(folder, settings)
    first = candidates[0]
    if first.unfinished:
        observer.note(f"warning: {first.unfinished}")
    dataset = open_dataset(clips.dataset, clips.data, clips.fold, observer)
    check_labels(clips.dataset, dataset.labels, str(artifact), first.labels)
    chosen = dataset.select(clips.split)  # type: ignore[arg-type]
    seen = refuse_seen(first.origin, clips.dataset, clips.fold, chosen, clips.allow_seen)
    store = load_split(dataset, clips.split, first.spec.sample_rate_hz, clips, observer)
    levels = name_levels(store, first.spec.n_samples)
    where = {"dataset": clips.dataset, "split": clips.split, "fold": clips.fold}
    results: list[Evaluated] = []
    for candidate in candidates:
        score = candidate.score(store, levels, observer)
        document = accuracy_document(
            candidate.spec,
            score,
            where,
            candidate.backend,
            candidate.precision,
            candidate.weights_sha256,
        )
        document["seen"] = seen.to_dict()
        if dataset.left_out:
            document["left_out"] = count_reasons(dataset.left_out)
        alone = replace(settings, precision=candidate.precision, output=None, record=False)
        document["command"] = command_line("evaluate", [artifact], clips, alone)
        assert score.predictions is not None
        flips = None
        if reference:
            against, predictions = reference
            flips = count_flips(predictions, score.predictions, candidate.labels, against)
            document["flips"] = flips.to_dict()
        results.append(Evaluated(document, score, flips))
        reference = reference or (results[0].name, score.predictions)
        _keep(candidate.bundle, document, settings, len(candidates))
    return Evaluation(tuple(results))


def _check(folder: Path, settings: EvaluationSettings) -> None:
    """Say what is wrong before anything is loaded."""
    if settings.record and runs_on_torch(folder, settings.backend):
        raise UsageError(f"{folder} is a checkpoint; --record is for a bundle's manifest.")
    claim_result(settings.output)


@dataclass(frozen=True)
class _Candidate:
    """One precision on one engine, opened when it is its turn.

    Attributes:
        origin: what its network was trained on; see `gmme_edge.data.seen`.
        unfinished: says that its training was stopped, if it was.
        bundle: whose precision it is; None for a checkpoint.
    """

    spec: ModelSpec
    labels: tuple[str, ...]
    origin: dict[str, Any]
    unfinished: str
    backend: str
    precision: str
    opened: Callable[[], AbstractContextManager[Predict]]
    weights_sha256: str
    bundle: Bundle | None = None

    def score(self, store: WaveformStore, levels: tuple[str, ...], observer: Observer) -> Score:
        what = f"{self.precision} on {self.backend}"
        observer.stage(f"evaluate {what}")
        with self.opened() as predict:
            return score_store(
                predict,
                store,
                self.spec.n_samples,
                self.labels,
                on_progress=lambda done, total: observer.progress(what, done, total),
                levels=levels,
            )


@contextmanager
def open_predictor(
    bundle: Bundle, backend: str, precision: str, threads: int | None = None
) -> Iterator[Predict]:
    """A bundle's network as `score_store` takes it, closed at the end."""
    session = open_session(bundle, backend, precision, threads)
    try:
        yield lambda batch: session.run(batch)["logits"]
    finally:
        session.close()


def runs_on_torch(artifact: Path, backend: str | None) -> bool:
    """Whether it is a checkpoint; a folder that is a bundle too is one if torch was asked for."""
    is_bundle = (artifact / "manifest.json").is_file()
    return (artifact / "model.json").is_file() and (backend == "torch" or not is_bundle)


def _candidates(artifact: Path, settings: EvaluationSettings) -> list[_Candidate]:
    """What is to be evaluated, one entry per precision."""
    if runs_on_torch(artifact, settings.backend):
        return [_checkpoint(artifact, settings)]
    bundle, backend = Bundle.open(artifact), settings.backend or "ort-cpu"
    asked = (settings.precision or bundle.default_precision).split(",")
    chosen = dict.fromkeys(resolve_precision(name.strip(), backend) for name in asked)
    for name in chosen:  # a wrong one is told before anything is decoded
        bundle.find("model", name)
    find_backend(backend).opener.check(backend)  # so is an engine that is not there
    return [
        _Candidate(
            spec=bundle.manifest.model,
            labels=bundle.manifest.labels,
            origin=_origin(bundle),
            unfinished=str(bundle.manifest.provenance.get("unfinished_training") or ""),
            backend=backend,
            precision=name,
            opened=partial(open_predictor, bundle, backend, name, settings.threads),
            weights_sha256=bundle.manifest.weights_sha256,
            bundle=bundle,
        )
        for name in chosen
    ]


def _origin(bundle: Bundle) -> dict[str, Any]:
    """What the bundle's network was trained on; a compact bundle is the checkpoint, too."""
    if described := bundle.manifest.listed(DESCRIPTION):
        bundle.checked_bytes(described)
        noted = read_description(bundle.path).training.get("data")
    else:
        noted = bundle.manifest.provenance.get("data")
    return noted if isinstance(noted, dict) else {}


def _checkpoint(artifact: Path, settings: EvaluationSettings) -> _Candidate:
    precision, backend = settings.precision, settings.backend
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

    if settings.threads:
        torch.set_num_threads(settings.threads)
    checkpoint = load_checkpoint(artifact)

    return _Candidate(
        spec=checkpoint.spec,
        labels=checkpoint.labels,
        origin=checkpoint.origin,
        unfinished=unfinished_training(checkpoint.training),
        backend="torch",
        precision="fp32",
        opened=lambda: nullcontext(torch_predictor(checkpoint.model)),
        weights_sha256=checkpoint.sha256,
    )


def _reference(against: Path | None) -> tuple[str, Predictions] | None:
    return (str(against), load_tested(against).pooled) if against else None


def result_path(output: Path, precision: str, n_precisions: int) -> Path:
    """The file of one of several precisions: ``r.fp32.json`` for ``r.json``."""
    if n_precisions == 1:
        return output
    return output.with_name(f"{output.stem}.{precision}{output.suffix}")


def _keep(
    bundle: Bundle | None,
    document: dict[str, Any],
    settings: EvaluationSettings,
    n_precisions: int,
) -> None:
    """Write and record one result as soon as it is there."""
    output = settings.output
    if output:
        write_json(result_path(output, document["precision"], n_precisions), document)
    if settings.record and bundle:
        facts = ("dataset", "split", "fold", "backend", "accuracy", "interval", "n", "seen")
        noted = {name: document[name] for name in facts}
        bundle.record_accuracy(document["precision"], noted)
