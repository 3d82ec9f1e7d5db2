"""Listen to a microphone or a recording until it ends or someone stops it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gmme_edge.audio import AudioWarning, Recording
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError
from gmme_edge.public import public
from gmme_edge.runtime.classifier import Classifier, load
from gmme_edge.runtime.streaming.events import Event, Gap
from gmme_edge.runtime.streaming.incremental import IncrementalClassifier, load_incremental
from gmme_edge.runtime.streaming.stream import Stream
from gmme_edge.workflows.microphone import Part, Source, open_microphone
from gmme_edge.workflows.settings.listening import EventSettings, ListenSettings

if TYPE_CHECKING:
    from gmme_edge.runtime.engines.cache import Rebuild

Heard = Event | Gap
_SCHEMA = 1
_CHUNK_S = 0.1


@public
def open_listener(
    bundle: str | Path,
    settings: ListenSettings,
    backend: str = "ort-cpu",
    precision: str | None = None,
    rebuild: Rebuild | None = None,
) -> Classifier | IncrementalClassifier:
    """What hears the windows, on one thread.

    Raises:
        UsageError: an incremental one on another backend, or in another precision.
        GmmeEdgeError: as `gmme_edge.load` and `gmme_edge.load_incremental` raise.
    """
    if not settings.incremental:
        return load(bundle, backend, precision, 1, rebuild)
    own = IncrementalClassifier
    if backend != own.backend or precision not in (None, own.precision):
        raise UsageError(
            f"--incremental with {backend} and {precision or 'the default precision'}.",
            f"{own.backend} and {own.precision}, the only ones that it has.",
        )
    return load_incremental(bundle, 1, settings.hold_db)


def listen(
    classifier: Classifier | IncrementalClassifier,
    rules: EventSettings,
    settings: ListenSettings,
    on_part: Callable[[Stream, list[Heard]], None],
    stop: Callable[[], bool] = lambda: False,
    network: dict[str, str] | None = None,
) -> Stream:
    """Hear the source to its end, or until `stop` says so; open events end then.

    Args:
        on_part: called after each chunk with what ended in it; shows the stream as it stands.
        stop: asked before each chunk, at least every half second.
        network: what identifies the bundle in the file of events, as `identify` tells it.

    Returns:
        The stream, with its counts.

    Raises:
        AudioError: a recording that cannot be decoded to its end; nothing of it is heard then.
        MissingDependencyError: no sounddevice, or no PortAudio.
        PlatformError: a microphone that cannot be opened, went away or delivers nothing.
    """
    with (
        _open_source(settings, classifier.sample_rate_hz, stop) as source,
        _open_log(settings.events) as log,
    ):
        stream = Stream(
            classifier, rules.hop_ms, rules.rules(), rules.gate_rules(), start=source.start
        )
        hold_db = getattr(classifier, "hold_db", None)
        _write(log, {**_head(stream, source), "hold_db": hold_db, **(network or {})})
        try:
            for lost, chunk in source.parts():
                if stop():
                    break
                heard: list[Heard] = list(stream.skip(lost, source.rate_hz)) if lost else []
                heard += stream.push(chunk, source.rate_hz)
                _tell(stream, heard, log, on_part)
        finally:  # what was heard before a failure is told as well
            _tell(stream, list(stream.flush()), log, on_part)
    return stream


def _tell(
    stream: Stream,
    heard: list[Heard],
    log: TextIO | None,
    on_part: Callable[[Stream, list[Heard]], None],
) -> None:
    for one in heard:
        _write(log, one.to_dict())
    on_part(stream, heard)


def _open_source(
    settings: ListenSettings, to_hz: int, stop: Callable[[], bool]
) -> AbstractContextManager[Source]:
    """The recording, which is decoded to the rate `to_hz`, or the microphone of the settings."""
    if settings.file is not None:
        return nullcontext(_FileSource(Recording(settings.file, to_hz)))
    return open_microphone(settings, stop)


class _FileSource:
    start: datetime | None = None

    def __init__(self, recording: Recording) -> None:
        self.name, self.rate_hz = str(recording.path), recording.sample_rate_hz
        self._recording = recording
        for note in recording.notes:
            warnings.warn(f"{recording.name}: {note}", AudioWarning, stacklevel=2)

    def parts(self) -> Iterator[Part]:
        size = max(1, int(self.rate_hz * _CHUNK_S))
        for block in self._recording.blocks():
            for start in range(0, len(block), size):
                yield 0, block[start : start + size]


@contextmanager
def _open_log(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    if path.is_dir():
        raise UsageError(f"--events {path} is a folder.", "a file.")
    log = open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_open)  # noqa: SIM115
    os.set_blocking(log.fileno(), True)
    try:
        yield log
    finally:
        with _naming(path):
            log.close()


def _open(name: str, _flags: int) -> int:
    """With O_NONBLOCK a pipe that nobody reads is an error, not waited for."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(name, flags, 0o666)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """The system does not say which file could not be written."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _write(log: TextIO | None, line: dict[str, Any]) -> None:
    if log is None:
        return
    with _naming(log.name):
        log.write(json.dumps(line) + "\n")
        log.flush()  # whoever follows the file sees an event when it ends


@public
def identify(bundle: str | Path, precision: str) -> dict[str, str]:
    """What says which network made events: the bundle, its model, and the graph's hash."""
    opened = Bundle.open(bundle)
    return {
        "bundle": str(bundle),
        "model": opened.manifest.model.name,
        "precision": precision,
        "model_sha256": opened.find("model", precision).sha256,
    }


def _head(stream: Stream, source: Source) -> dict[str, Any]:
    """What the events that follow were made with."""
    gate = stream.gate_rules
    return {
        "kind": "stream",
        "schema": _SCHEMA,
        "source": source.name,
        "source_rate_hz": source.rate_hz,
        "sample_rate_hz": stream.sample_rate_hz,
        "window_samples": stream.grid.window_samples,
        "hop_us": stream.grid.hop_us,
        "rules": stream.rules.to_dict(),
        "gate": None if gate is None else gate.to_dict(),
        "start_utc": None if stream.start is None else stream.start.isoformat(),
    }
