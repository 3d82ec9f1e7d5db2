"""One recording to its events, or several that follow each other: what a worker does."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Recording
from gmme_edge.audio.dating import recording_start
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import AudioError, BundleError, GmmeEdgeError
from gmme_edge.runtime.classifier import Classifier, load
from gmme_edge.runtime.streaming.events import Event, Stretch
from gmme_edge.runtime.streaming.stream import Stream, WindowClassifier
from gmme_edge.workflows.archive.embeddings import Spool
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import parse_zone

_THREADS = 1


@dataclass(frozen=True)
class Job:
    """What every recording of a scan is heard with; small, and the same for all.

    Attributes:
        model_sha256: of the graph; a worker whose bundle holds another one refuses.
        spool: the folder for embeddings on their way; empty where none are wanted.
    """

    bundle: str
    backend: str
    precision: str
    model_sha256: str
    rules: EventSettings
    timezone: str | None = None
    spool: str = ""


@dataclass(frozen=True)
class Row:
    """An event as the results hold it; `confidence` is the peak probability."""

    start_s: float
    end_s: float
    start_utc: str
    end_utc: str
    label: str
    confidence: float
    mean: float


@dataclass(frozen=True)
class Heard:
    """A recording's events in the order of their starts, or why it could not be heard.

    Attributes:
        start_utc: of its first sample; empty where that is not known.
        spooled: the file in `Job.spool` with its embeddings; empty where it has none.
    """

    rows: tuple[Row, ...] = ()
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""
    start_utc: str = ""
    spooled: str = ""


def hear(job: Job, path: bytes) -> Heard:
    """Listen to one recording. Whatever is wrong with it concerns no other.

    Raises:
        GmmeEdgeError: the bundle, or a library that is missing here: no recording can be heard.
    """
    classifier = _open(job)
    try:
        return hear_with(classifier, job, Path(os.fsdecode(path)))
    except AudioError as error:
        return Heard(error=str(error))
    except GmmeEdgeError:
        raise
    except Exception as error:  # a fault of ours must not cost the other recordings
        return Heard(error=f"{type(error).__name__}: {error}")


def hear_joined(job: Job, paths: tuple[bytes, ...]) -> tuple[Heard, ...]:
    """Listen to recordings that follow each other as to one; events go on across the seams.

    One that cannot be heard ends the piece before it, and the next begins a new one.

    Raises:
        GmmeEdgeError: as `hear`.
    """
    classifier = _open(job)
    try:
        return hear_joined_with(classifier, job, [Path(os.fsdecode(path)) for path in paths])
    except GmmeEdgeError as error:
        if not isinstance(error, AudioError):
            raise
    except Exception:
        pass
    return tuple(hear(job, path) for path in paths)


def hear_with(classifier: WindowClassifier, job: Job, path: Path) -> Heard:
    """The recording in blocks through the stream; memory does not grow with its length.

    Raises:
        AudioError: it cannot be decoded to its end.
    """
    piece = _Piece(classifier, job)
    piece.hear(path, Recording(path, classifier.sample_rate_hz))
    return piece.end()[0]


def hear_joined_with(
    classifier: WindowClassifier, job: Job, paths: list[Path]
) -> tuple[Heard, ...]:
    """As `hear_joined`; one result for each path, in their order."""
    found: list[Heard] = []
    piece: _Piece | None = None
    for path in paths:
        try:
            recording = Recording(path, classifier.sample_rate_hz)
        except AudioError as error:
            found += piece.end() if piece else []
            found.append(Heard(error=str(error)))
            piece = None
            continue
        piece = piece or _Piece(classifier, job)
        piece.hear(path, recording)
    return (*found, *(piece.end() if piece else []))


@dataclass
class _Part:
    """A recording within a piece, whose sample `first` is its own first."""

    first: int
    start: datetime | None
    notes: tuple[str, ...]
    spool: Spool | None


class _Piece:
    """Recordings in a row, heard by one stream."""

    def __init__(self, classifier: WindowClassifier, job: Job) -> None:
        self._job, self._parts = job, list[_Part]()
        self._rate_hz, self._window = classifier.sample_rate_hz, classifier.window_samples
        listener = _Tap(classifier, self._keep) if job.spool else classifier
        rules = job.rules
        self._stream = Stream(listener, rules.hop_ms, rules.rules(), rules.gate_rules())
        self._events: list[Event] = []

    def hear(self, path: Path, recording: Recording) -> None:
        zone = None if self._job.timezone is None else parse_zone(self._job.timezone)
        spool = Spool(Path(self._job.spool)) if self._job.spool else None
        start = recording_start(path, zone)
        self._parts.append(_Part(self._position, start, tuple(recording.notes), spool))
        for block in recording.blocks():
            self._events += self._stream.push(block, self._rate_hz)

    def end(self) -> list[Heard]:
        """What was found in each recording: events and windows that begin in it."""
        self._events += self._stream.flush()
        rows: list[list[Row]] = [[] for _ in self._parts]
        for event in self._events:
            index = self._index(event.start_sample)
            rows[index].append(_row(event, self._parts[index]))
        ends = [*(part.first for part in self._parts[1:]), self._position]
        return [
            self._heard(part, end, found)
            for part, end, found in zip(self._parts, ends, rows, strict=True)
        ]

    def _heard(self, part: _Part, end: int, rows: list[Row]) -> Heard:
        if part.spool is not None:
            part.spool.write()
        rows.sort(key=lambda row: (row.start_s, row.label, row.end_s))
        return Heard(
            rows=tuple(rows),
            duration_s=(end - part.first) / self._rate_hz,
            notes=part.notes,
            start_utc="" if part.start is None else part.start.isoformat(timespec="microseconds"),
            spooled="" if part.spool is None else part.spool.name,
        )

    def _keep(self, vector: NDArray[np.float32]) -> None:
        """Take the embedding of the window of the latest samples."""
        start = max(0, self._position - self._window)
        part = self._parts[self._index(start)]
        if part.spool is not None:
            part.spool.add(start - part.first, vector)

    def _index(self, sample: int) -> int:
        """Of the recording that holds this sample."""
        return bisect_right(self._parts, sample, key=lambda part: part.first) - 1

    @property
    def _position(self) -> int:
        return round(self._stream.position_s * self._rate_hz)


class _Tap:
    """A classifier whose embeddings are passed on while it is asked for probabilities."""

    def __init__(self, classifier: Any, keep: Callable[[NDArray[np.float32]], None]) -> None:  # noqa: ANN401 - what `analyze` has
        self._classifier, self._keep = classifier, keep
        self.labels, self.sample_rate_hz = classifier.labels, classifier.sample_rate_hz
        self.window_samples = classifier.window_samples

    def probabilities(self, waveform: Any, sample_rate_hz: int) -> NDArray[np.float64]:  # noqa: ANN401 - as the protocol
        found = self._classifier.analyze(waveform, sample_rate_hz)
        self._keep(found.embedding)
        return np.asarray(found.probabilities, np.float64)


def _row(event: Event, part: _Part) -> Row:
    within = Stretch(
        start_sample=event.start_sample - part.first,
        end_sample=event.end_sample - part.first,
        sample_rate_hz=event.sample_rate_hz,
        stream_start=part.start,
    ).to_dict()
    return Row(
        start_s=within["start_s"],
        end_s=within["end_s"],
        start_utc=within.get("start_utc", ""),
        end_utc=within.get("end_utc", ""),
        label=event.label,
        confidence=round(event.peak, 6),
        mean=round(event.mean, 6),
    )


@lru_cache(maxsize=1)
def _open(job: Job) -> Classifier:
    """The network, opened once in each worker."""
    found = Bundle.open(job.bundle).find("model", job.precision).sha256
    if found != job.model_sha256:
        raise BundleError(
            f"{job.bundle} holds another {job.precision} network here.",
            f"SHA-256 {job.model_sha256[:16]}…, as where the scan was started.",
            "give every worker the same files.",
        )
    return load(job.bundle, job.backend, job.precision, _THREADS)
