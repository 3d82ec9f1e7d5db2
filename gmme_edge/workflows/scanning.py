"""Archives to tables of events: any number of recordings of any length, stopped and resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gmme_edge.audio import AUDIO_SUFFIXES, FOREIGN_SUFFIXES
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import InputError, UsageError, require
from gmme_edge.files import write_json
from gmme_edge.inputs import read_json
from gmme_edge.observer import SILENT, Observer
from gmme_edge.pretrained import list_names
from gmme_edge.public import public
from gmme_edge.report.render.page import require_templates
from gmme_edge.runtime.backends import AUTO, BACKENDS, resolve_precision
from gmme_edge.runtime.choosing import choose_backend
from gmme_edge.runtime.streaming.grid import make_grid
from gmme_edge.workflows.archive.embeddings import write_embeddings
from gmme_edge.workflows.archive.executors import open_executor
from gmme_edge.workflows.archive.findings import Counts
from gmme_edge.workflows.archive.heard import Job
from gmme_edge.workflows.archive.joining import find_pieces
from gmme_edge.workflows.archive.journal import NAME as JOURNAL
from gmme_edge.workflows.archive.journal import Journal
from gmme_edge.workflows.archive.network import THREADS
from gmme_edge.workflows.archive.overview import write_overview
from gmme_edge.workflows.archive.tables import write_failed, write_tables
from gmme_edge.workflows.archive.working import Work
from gmme_edge.workflows.clips import tell_foreign
from gmme_edge.workflows.listening import identify
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import FORMATS, ScanSettings, WorkerSettings

SCHEMA = 1
SIDECAR, SKIPPED = "scan.json", "skipped.csv"


@dataclass(frozen=True)
class Scan:
    """What a scan found so far.

    Attributes:
        head: the network, the rules and the time zone that made the events.
        files: format → file or folder; empty before the scan is complete.
    """

    folder: Path
    counts: Counts
    head: dict[str, Any]
    files: dict[str, Path]

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.head,
            "counts": asdict(self.counts),
            "files": {name: str(path) for name, path in self.files.items()},
        }


@public
def scan(
    bundle: str | Path,
    recordings: Sequence[Path],
    settings: ScanSettings,
    rules: EventSettings | None = None,
    workers: WorkerSettings | None = None,
    observer: Observer = SILENT,
    executor: Executor | None = None,
) -> Scan:
    """Hear every recording in `recordings`, and in folders of them and below, and write the events.

    What an earlier call with the same output has heard is not heard again, and the tables that it
    wrote are written anew. The results do not depend on who does the work, nor on how often it was
    interrupted.

    Args:
        executor: used instead of what `workers` asks for, and left open.

    Raises:
        UsageError: no recordings; a journal of other parameters, without `settings.restart`.
        BundleError: no bundle, or a damaged one.
    """
    rules = rules or EventSettings()
    _refuse_models(recordings)
    opened = Bundle.open(bundle)
    opened.warn_of_license(stacklevel=3)
    settings = _renew(settings)
    settings, why = _settle_backend(opened, settings)
    if why:
        observer.note(f"note: {why}")
    chosen = settings.precision or opened.recommended_precision(settings.backend)
    precision = resolve_precision(chosen, settings.backend)
    head = _describe(opened, bundle, precision, settings, rules)
    head |= {"backend_reason": why} if why else {}
    _require_writers(settings)
    with Journal(settings.output, create=True) as journal:
        journal.claim(head["parameters"], settings.restart)
        job = Job(
            bundle=str(opened.path.absolute()),
            backend=settings.backend,
            precision=precision,
            model_sha256=head["model_sha256"],
            rules=rules,
            timezone=settings.timezone,
            spool=str(journal.spool.absolute()) if settings.embeddings else "",
        )
        counts = _list_all(journal, recordings, settings, observer)
        if counts.left:
            observer.stage("listen")
            given: AbstractContextManager[tuple[Executor, int]] = (
                open_executor(workers or WorkerSettings())
                if executor is None
                else nullcontext((executor, 2 * (os.cpu_count() or 1)))
            )
            with given as (used, at_once):
                Work(used, at_once, job, opened.manifest.labels, journal, observer).run()
        journal.commit()
        return _write(settings, journal, head, observer)


@public
def status(folder: Path) -> Scan:
    """What the journal in `folder` holds, also while a scan is at work.

    Raises:
        InputError: no journal of a scan.
    """
    with Journal(folder) as journal:
        return Scan(folder, journal.counts(), {"parameters": journal.parameters}, {})


def _renew(settings: ScanSettings) -> ScanSettings:
    """What an earlier scan of the folder wrote is written anew: else it would be outdated."""
    try:
        before = read_json(settings.output / SIDECAR, "scan's result", SCHEMA).get("files")
    except InputError:
        return settings
    if not isinstance(before, dict):
        return settings
    formats = [*settings.chosen_formats(), *(name for name in FORMATS if name in before)]
    overview = settings.overview or "overview" in before
    return replace(settings, formats=",".join(formats), overview=overview)


def _refuse_models(recordings: Sequence[Path]) -> None:
    """`predict` and `listen` take a model before the recordings; here it would be one of them."""
    for name in (str(path) for path in recordings if not path.exists()):
        if name in list_names():
            raise UsageError(
                f"{name} is a shipped model, and no recording.",
                "recordings, or folders of them.",
                f"name the model with -m {name}.",
            )


def _settle_backend(opened: Bundle, settings: ScanSettings) -> tuple[ScanSettings, str]:
    """The settings with a backend where they say ``auto``, and why it is that one.

    A scan goes on with what it was begun with: another backend rounds differently.
    """
    if settings.backend != AUTO:
        return settings, ""
    if not settings.restart and (settings.output / JOURNAL).is_file():
        with Journal(settings.output) as journal:
            before = journal.parameters.get("backend")
        if before in BACKENDS:
            return replace(settings, backend=before), f"{before}, as this scan was begun with it"
    choice = choose_backend(opened, settings.precision, THREADS)
    return replace(settings, backend=choice.backend), choice.reason


def _describe(
    opened: Bundle, bundle: str | Path, precision: str, settings: ScanSettings, rules: EventSettings
) -> dict[str, Any]:
    """The head of the results; a journal is of one set of `parameters`."""
    spec = opened.manifest.model
    network = identify(bundle, precision)
    made_of, gate = rules.rules(), rules.gate_rules()
    made_of.select(opened.manifest.labels)  # a wrong label is told before anything is heard
    parameters = {
        "model_sha256": network["model_sha256"],
        "precision": precision,
        "backend": settings.backend,
        "hop_us": make_grid(spec.sample_rate_hz, spec.n_samples, rules.hop_ms).hop_us,
        "rules": made_of.to_dict(),
        "gate": None if gate is None else gate.to_dict(),
        "timezone": settings.timezone,
    }
    width = {"embedding_width": spec.backbone.embed_dim} if settings.embeddings else {}
    join = {"join": True} if settings.join else {}
    return {
        "kind": "scan",
        "schema": SCHEMA,
        **network,
        "sample_rate_hz": spec.sample_rate_hz,
        "window_samples": spec.n_samples,
        "confidence": "the highest probability of an event's windows",
        **width,
        "parameters": {**parameters, **width, **join},
    }


def _require_writers(settings: ScanSettings) -> None:
    """What is missing is told before anything is heard."""
    if "parquet" in settings.chosen_formats() + settings.chosen_embeddings():
        require("pyarrow", "write Parquet")
    if settings.overview:
        require_templates()


def _list_all(
    journal: Journal, recordings: Sequence[Path], settings: ScanSettings, observer: Observer
) -> Counts:
    """Note what is to be heard, and what of it together."""
    observer.stage("list recordings")
    foreign: list[Path] = []
    journal.add(_list(recordings, foreign))
    tell_foreign(foreign, observer)
    if settings.join:
        observer.stage("join recordings")
        journal.join(find_pieces(journal.wanted(), settings.zone()))
    counts = journal.counts()
    if not counts.total:
        raise UsageError(
            f"{', '.join(map(str, recordings)) or 'Nothing'} holds no recordings.",
            f"files that end in {', '.join(sorted(AUDIO_SUFFIXES))}.",
        )
    return counts


def _list(recordings: Sequence[Path], foreign: list[Path]) -> Iterator[bytes]:
    """Files as they are given, and recordings in folders and below, hidden ones left out.

    Args:
        foreign: receives the recordings in formats that cannot be decoded.
    """
    for given in recordings:
        if not given.is_dir():
            yield os.fsencode(given)
            continue
        for folder, folders, names in os.walk(given):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                suffix = Path(name).suffix.lower()
                if not name.startswith(".") and suffix in AUDIO_SUFFIXES:
                    yield os.fsencode(Path(folder, name))
                elif not name.startswith(".") and suffix in FOREIGN_SUFFIXES:
                    foreign.append(Path(folder, name))


def _write(
    settings: ScanSettings, journal: Journal, head: dict[str, Any], observer: Observer
) -> Scan:
    observer.stage("write the results")
    folder = settings.output
    files = write_tables(folder, settings.chosen_formats(), journal, head)
    files |= write_embeddings(folder, settings.chosen_embeddings(), journal, head)
    if settings.overview:
        files["overview"] = write_overview(folder, journal, head, settings.zone())
    write_failed(folder / SKIPPED, journal)
    counts = journal.counts()
    result = Scan(folder, counts, head, files)
    write_json(folder / SIDECAR, result.to_dict())
    return result
