"""One long recording for many workers, with the rows that one worker would find.

    divide ──▶ segments, each: probabilities of its windows ──▶ conclude: the rules, in order

What has a memory stays in one place: the gate hears the whole recording first and says which
windows the network is to compute; the rules hear all probabilities afterwards. Between them every
window stands for itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Recording, Waveform, resampling
from gmme_edge.audio.dating import recording_start
from gmme_edge.audio.seeking import can_seek, read_part
from gmme_edge.runtime.streaming.events import follow_windows
from gmme_edge.runtime.streaming.gate import GateRules
from gmme_edge.runtime.streaming.grid import WindowGrid, make_grid
from gmme_edge.runtime.streaming.stream import Stream, WindowClassifier
from gmme_edge.workflows.archive.embeddings import Spool
from gmme_edge.workflows.archive.findings import damaged
from gmme_edge.workflows.archive.heard import (
    Division,
    Heard,
    Job,
    Segment,
    in_order,
    row_of,
    stamp,
)
from gmme_edge.workflows.archive.network import Tap, isolate, open_network
from gmme_edge.workflows.archive.telling import tell
from gmme_edge.workflows.settings.listening import EventSettings

_LEAST_WINDOWS = 1024  # of a segment: what a kill costs
_LEAST_SEGMENTS = 4  # of a recording that is divided


def divide(
    classifier: WindowClassifier, job: Job, path: Path, recording: Recording
) -> Division | None:
    """How workers may share the recording; None where it is too short, or cannot be cut exactly."""
    rate_hz = classifier.sample_rate_hz
    grid = make_grid(rate_hz, classifier.window_samples, job.rules.hop_ms)
    segment_samples = _segment_samples(grid)
    if recording.n_given <= _LEAST_SEGMENTS * segment_samples or not can_seek(path):
        return None
    division = Division(
        grid=grid,
        n_samples=recording.n_given,
        segment_samples=segment_samples,
        channel=recording.channel,
        notes=tuple(recording.notes),
        start_utc=stamp(recording_start(path, job.zone())),
        asked=b"",
    )
    gate = job.rules.gate_rules()
    if gate is None:
        return division
    return replace(division, asked=_ask(recording, division, job.rules.hop_ms, gate))


def hear_segment(job: Job, path: bytes, division: Division, number: int) -> Segment:
    """The probabilities of one segment's windows.

    Raises:
        GmmeEdgeError: as `hearing.hear`.
    """
    classifier, given = open_network(job), Path(os.fsdecode(path))
    return isolate(
        lambda: hear_segment_with(classifier, job, given, division, number),
        lambda reason: Segment(error=reason),
    )


def hear_segment_with(
    classifier: WindowClassifier, job: Job, path: Path, division: Division, number: int
) -> Segment:
    """As `hear_segment`.

    Raises:
        AudioError: the recording has become shorter since it was divided.
    """
    starts = [division.start(w) for w in division.windows(number) if division.asks(w)]
    size, rate_hz = classifier.window_samples, classifier.sample_rate_hz
    heard = number * division.segment_samples
    end = min(heard + division.segment_samples, division.n_samples)
    if not starts:
        tell((end - heard) / rate_hz)
        return Segment()
    spool = Spool(Path(job.spool)) if job.spool else None
    vectors: list[NDArray[np.float32]] = []
    listener = classifier if spool is None else Tap(classifier, vectors.append)
    blocks = read_part(path, rate_hz, division.channel, starts[0], starts[-1] + size)
    found: list[bytes] = []
    for start, window in zip(starts, _windows(blocks, starts, size), strict=True):
        row = listener.probabilities(window, rate_hz)
        found.append(np.asarray(row, np.float64).tobytes())
        if spool is not None:
            spool.add(start, vectors.pop())
        tell((start - heard) / rate_hz)
        heard = start
    tell((end - heard) / rate_hz)
    if spool is not None:
        spool.write()
    return Segment(b"".join(found), "" if spool is None else spool.name)


def conclude(
    division: Division, segments: Iterable[bytes], labels: Sequence[str], rules: EventSettings
) -> Heard:
    """The recording's events; `segments` are the probabilities of each, in order."""
    start = datetime.fromisoformat(division.start_utc) if division.start_utc else None
    events = follow_windows(
        _rows(division, segments, len(labels)),
        division.n_samples,
        labels,
        division.grid,
        rules.rules(),
    )
    return Heard(
        rows=in_order(row_of(event, 0, start) for event in events),
        duration_s=division.n_samples / division.grid.sample_rate_hz,
        notes=division.notes,
        start_utc=division.start_utc,
    )


def _segment_samples(grid: WindowGrid) -> int:
    """Whole stretches, where a worker can begin, that hold the least number of windows."""
    stretch_us = resampling.STRETCH_S * 1_000_000
    stretches = -(-_LEAST_WINDOWS * grid.hop_us // stretch_us)
    return stretches * resampling.STRETCH_S * grid.sample_rate_hz


class _Asked:
    """A classifier that only notes which windows it is asked for; their numbers come from outside.

    Attributes:
        number: of the window that it would be asked for next.
    """

    labels: tuple[str, ...] = ("",)

    def __init__(self, grid: WindowGrid, n_windows: int) -> None:
        self.sample_rate_hz, self.window_samples = grid.sample_rate_hz, grid.window_samples
        self.asked = np.zeros(n_windows, bool)
        self.number: Callable[[], int] = lambda: 0

    def probabilities(self, waveform: object, sample_rate_hz: int) -> NDArray[np.float64]:
        self.asked[self.number()] = True
        return np.zeros(1)


def _ask(recording: Recording, division: Division, hop_ms: float | None, gate: GateRules) -> bytes:
    """Which windows a stream asks its classifier for, as `Division.asked`."""
    listener = _Asked(division.grid, division.n_windows)
    stream = Stream(listener, hop_ms, gate=gate)
    listener.number = lambda: stream.windows
    for block in recording.blocks():
        stream.push(block, listener.sample_rate_hz)
    stream.flush()
    return np.packbits(listener.asked).tobytes()


def _windows(blocks: Iterator[Waveform], starts: Sequence[int], size: int) -> Iterator[Waveform]:
    """Windows of a waveform that begins with the first of them and comes in blocks."""
    held, at = np.zeros(0, np.float32), starts[0]
    for start in starts:
        while at + len(held) < start + size:
            passed = min(start - at, len(held))
            held, at = np.concatenate([held[passed:], next(blocks)]), at + passed
        yield held[start - at : start - at + size]


def _rows(
    division: Division, segments: Iterable[bytes], n_labels: int
) -> Iterator[NDArray[np.float64] | None]:
    """One for each window; None where the gate spared the network."""
    row_bytes = 8 * n_labels
    for number, held in enumerate(segments):
        asked = [division.asks(window) for window in division.windows(number)]
        if not isinstance(held, bytes) or len(held) != row_bytes * sum(asked):
            raise damaged(held)
        rows = iter(np.frombuffer(held, np.float64).reshape(-1, n_labels))
        for is_asked in asked:
            yield next(rows) if is_asked else None
