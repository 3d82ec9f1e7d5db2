"""Listen to a microphone or a recording until it ends or someone stops it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import AudioWarning, Recording
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import MissingDependencyError, PlatformError, UsageError, require
from gmme_edge.public import public
from gmme_edge.runtime.classifier import Classifier
from gmme_edge.runtime.streaming.backlog import Backlog
from gmme_edge.runtime.streaming.events import Event, Gap
from gmme_edge.runtime.streaming.stream import Stream
from gmme_edge.workflows.settings.listening import EventSettings, ListenSettings

Heard = Event | Gap
Part = tuple[int, NDArray[Any]]  # samples lost before a chunk, and the chunk
_SCHEMA = 1
_CHUNK_S = 0.1
_PATIENCE_S = 0.5  # how long a microphone may be silent before `stop` is asked again


class Source(Protocol):
    """Sound in parts, at one rate; `start` is the time of its first sample, where known."""

    rate_hz: int
    name: str
    start: datetime | None

    def parts(self) -> Iterator[Part]: ...


def listen(
    classifier: Classifier,
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
        PlatformError: a microphone that cannot be opened, or went away.
    """
    with (
        _open_source(settings, classifier.sample_rate_hz) as source,
        _open_log(settings.events) as log,
    ):
        stream = Stream(
            classifier, rules.hop_ms, rules.rules(), rules.gate_rules(), start=source.start
        )
        _write(log, {**_head(stream, source), **(network or {})})
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


def _open_source(settings: ListenSettings, to_hz: int) -> AbstractContextManager[Source]:
    """The recording, which is decoded to the rate `to_hz`, or the microphone of the settings."""
    if settings.file is not None:
        return nullcontext(_FileSource(Recording(settings.file, to_hz)))
    return _open_microphone(settings)


def list_devices() -> list[dict[str, Any]]:
    """The machine's microphones: number, name, channels and rate."""
    return [
        {
            "device": number,
            "name": device["name"],
            "channels": device["max_input_channels"],
            "rate_hz": int(device["default_samplerate"]),
        }
        for number, device in enumerate(_sounddevice().query_devices())
        if device["max_input_channels"] > 0
    ]


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


class _Microphone:
    """Takes what the sound card's thread delivers."""

    def __init__(self, name: str, rate_hz: int, backlog_s: float) -> None:
        self.name, self.rate_hz = name, rate_hz
        self.start: datetime | None = None
        self.backlog = Backlog(max(1, int(backlog_s * rate_hz)))
        self._ends_s: float | None = None  # when the latest block ended, by the card's clock

    def hear(self, data: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:  # noqa: ANN401 - no stubs
        """Called in the sound card's thread."""
        begins_s, lost = float(times.inputBufferAdcTime), 0
        if status.input_overflow and self._ends_s is not None:
            lost = max(1, round((begins_s - self._ends_s) * self.rate_hz))
        self._ends_s = begins_s + frames / self.rate_hz
        self.backlog.put(data[:, 0].copy(), lost)

    def parts(self) -> Iterator[Part]:
        while not self.backlog.ended:
            lost, chunk = self.backlog.take(_PATIENCE_S)
            yield lost, np.zeros(0, np.float32) if chunk is None else chunk
        raise PlatformError(f"{self.name} delivers no more sound.", "a microphone that stays.")


@contextmanager
def _open_microphone(settings: ListenSettings) -> Iterator[Source]:
    sounddevice = _sounddevice()
    wanted = settings.device
    device = int(wanted) if wanted and wanted.isdecimal() and len(wanted) < 9 else wanted
    try:
        facts = sounddevice.query_devices(device, "input")
        rate_hz = settings.rate_hz or int(facts["default_samplerate"])
        source = _Microphone(facts["name"], rate_hz, settings.backlog_s)
        microphone = sounddevice.InputStream(
            device=device,
            channels=1,
            samplerate=rate_hz,
            dtype="float32",
            blocksize=max(1, int(rate_hz * _CHUNK_S)),
            callback=source.hear,
            finished_callback=source.backlog.close,
        )
        source.start = datetime.now(timezone.utc)
        microphone.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise PlatformError(
            f"The microphone cannot be opened: {error}",
            "an input device that is not in use.",
            "see `gmme-edge listen --list-devices`, and choose with --device.",
        ) from error
    with microphone:
        yield source


def _sounddevice() -> ModuleType:
    try:
        return require("sounddevice", "listen to a microphone")
    except MissingDependencyError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise MissingDependencyError(  # the package is there, and its C library is not
            error.got, error.expected, "apt install libportaudio2, or your system's PortAudio."
        ) from error


@contextmanager
def _open_log(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    if path.is_dir():
        raise UsageError(f"--events {path} is a folder.", "a file.")
    # With O_NONBLOCK a pipe that nobody reads is an error, not waited for.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags, 0o666)
    os.set_blocking(descriptor, True)
    with open(descriptor, "a", encoding="utf-8", errors="backslashreplace") as log:  # noqa: PTH123
        yield log


def _write(log: TextIO | None, line: dict[str, Any]) -> None:
    if log is None:
        return
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
