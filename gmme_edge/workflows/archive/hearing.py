"""One recording to its events, or several that follow each other: what a worker does."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Recording
from gmme_edge.audio.dating import recording_start
from gmme_edge.errors import AudioError, GmmeEdgeError
from gmme_edge.runtime.streaming.events import Event
from gmme_edge.runtime.streaming.stream import Stream, WindowClassifier
from gmme_edge.workflows.archive.dividing import divide
from gmme_edge.workflows.archive.embeddings import Spool
from gmme_edge.workflows.archive.heard import Division, Heard, Job, Row, in_order, row_of, stamp
from gmme_edge.workflows.archive.network import Tap, isolate, open_network
from gmme_edge.workflows.archive.telling import tell


def hear(job: Job, path: bytes) -> Heard | Division:
    """Listen to one recording, or divide a long one. What is wrong with it concerns no other.

    Raises:
        GmmeEdgeError: the bundle, or a library that is missing here: no recording can be heard.
    """
    classifier, given = open_network(job), Path(os.fsdecode(path))

    def work() -> Heard | Division:
        recording = Recording(given, classifier.sample_rate_hz)
        division = divide(classifier, job, given, recording)
        return division or hear_with(classifier, job, given, recording)

    return isolate(work, lambda reason: Heard(error=reason))


def hear_joined(job: Job, paths: tuple[bytes, ...]) -> tuple[Heard, ...]:
    """Listen to recordings that follow each other as to one; events go on across the seams.

    One that cannot be heard ends the piece before it, and the next begins a new one.

    Raises:
        GmmeEdgeError: as `hear`.
    """
    classifier = open_network(job)
    try:
        return hear_joined_with(classifier, job, [Path(os.fsdecode(path)) for path in paths])
    except GmmeEdgeError as error:
        if not isinstance(error, AudioError):
            raise
    except Exception:
        pass
    return tuple(
        isolate(
            partial(hear_with, classifier, job, Path(os.fsdecode(path))),
            lambda reason: Heard(error=reason),
        )
        for path in paths
    )


def hear_with(
    classifier: WindowClassifier, job: Job, path: Path, recording: Recording | None = None
) -> Heard:
    """The recording in blocks through the stream; memory does not grow with its length.

    Raises:
        AudioError: it cannot be decoded to its end.
    """
    piece = _Piece(classifier, job)
    piece.hear(path, recording or Recording(path, classifier.sample_rate_hz))
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
        listener = Tap(classifier, self._keep) if job.spool else classifier
        rules = job.rules
        self._stream = Stream(listener, rules.hop_ms, rules.rules(), rules.gate_rules())
        self._events: list[Event] = []

    def hear(self, path: Path, recording: Recording) -> None:
        spool = Spool(Path(self._job.spool)) if self._job.spool else None
        start = recording_start(path, self._job.zone())
        self._parts.append(_Part(self._position, start, tuple(recording.notes), spool))
        for block in recording.blocks():
            self._events += self._stream.push(block, self._rate_hz)
            tell(len(block) / self._rate_hz)

    def end(self) -> list[Heard]:
        """What was found in each recording: events and windows that begin in it."""
        self._events += self._stream.flush()
        rows: list[list[Row]] = [[] for _ in self._parts]
        for event in self._events:
            index = self._index(event.start_sample)
            rows[index].append(row_of(event, self._parts[index].first, self._parts[index].start))
        ends = [*(part.first for part in self._parts[1:]), self._position]
        return [
            self._heard(part, end, found)
            for part, end, found in zip(self._parts, ends, rows, strict=True)
        ]

    def _heard(self, part: _Part, end: int, rows: list[Row]) -> Heard:
        if part.spool is not None:
            part.spool.write()
        return Heard(
            rows=in_order(rows),
            duration_s=(end - part.first) / self._rate_hz,
            notes=part.notes,
            start_utc=stamp(part.start),
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
