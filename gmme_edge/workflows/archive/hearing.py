"""One recording to its events: what a worker does, wherever it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gmme_edge.audio import Recording
from gmme_edge.audio.naming import recording_start
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import AudioError, BundleError, GmmeEdgeError
from gmme_edge.runtime.classifier import Classifier, load
from gmme_edge.runtime.streaming.events import Event
from gmme_edge.runtime.streaming.stream import Stream, WindowClassifier
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import parse_zone

_THREADS = 1


@dataclass(frozen=True)
class Job:
    """What every recording of a scan is heard with; small, and the same for all.

    Attributes:
        model_sha256: of the graph; a worker whose bundle holds another one refuses.
    """

    bundle: str
    backend: str
    precision: str
    model_sha256: str
    rules: EventSettings
    timezone: str | None = None


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
    """A recording's events in the order of their starts, or why it could not be heard."""

    rows: tuple[Row, ...] = ()
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""


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


def hear_with(classifier: WindowClassifier, job: Job, path: Path) -> Heard:
    """The recording in blocks through the stream; memory does not grow with its length.

    Raises:
        AudioError: it cannot be decoded to its end.
    """
    zone = None if job.timezone is None else parse_zone(job.timezone)
    recording = Recording(path, classifier.sample_rate_hz)
    stream = Stream(
        classifier,
        job.rules.hop_ms,
        job.rules.rules(),
        job.rules.gate_rules(),
        start=recording_start(path, zone),
    )
    events: list[Event] = []
    for block in recording.blocks():
        events += stream.push(block, classifier.sample_rate_hz)
    events += stream.flush()
    rows = sorted(map(_row, events), key=lambda row: (row.start_s, row.label, row.end_s))
    return Heard(tuple(rows), stream.position_s, tuple(recording.notes))


def _row(event: Event) -> Row:
    values = event.to_dict()
    return Row(
        start_s=values["start_s"],
        end_s=values["end_s"],
        start_utc=values.get("start_utc", ""),
        end_utc=values.get("end_utc", ""),
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
