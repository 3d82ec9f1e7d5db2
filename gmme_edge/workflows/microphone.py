"""Sound from a microphone, as sounddevice's thread delivers it."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from threading import Event, Thread
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import MissingDependencyError, PlatformError, require
from gmme_edge.runtime.streaming.backlog import Backlog
from gmme_edge.workflows.settings.listening import ListenSettings

Part = tuple[int, NDArray[Any]]  # samples lost before a chunk, and the chunk
_BLOCK_S = 0.1
_PATIENCE_S = 0.5  # how long a microphone may be silent before `stop` is asked again
_SILENCE_S = 5.0  # … before it counts as broken; a sound server may take 1.5 s to begin
_CLOSING_S = 3.0


class Source(Protocol):
    """Sound in parts, at one rate; `start` is the time of its first sample, where known."""

    rate_hz: int
    name: str
    start: datetime | None

    def parts(self) -> Iterator[Part]: ...


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


@contextmanager
def open_microphone(settings: ListenSettings, stop: Callable[[], bool]) -> Iterator[Source]:
    """The microphone of the settings, which has delivered its first sound unless `stop` says so.

    Raises:
        MissingDependencyError: no sounddevice, or no PortAudio.
        PlatformError: it cannot be opened, or nothing comes of it.
    """
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
            blocksize=max(1, int(rate_hz * _BLOCK_S)),
            callback=source.hear,
            finished_callback=source.close,
        )
        microphone.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise PlatformError(
            f"The microphone cannot be opened: {error}",
            "an input device that is not in use, at a rate that it has.",
            "see `gmme-edge listen --list-devices`, and choose with --device and --rate-hz.",
        ) from error
    try:
        source.wait(stop)
        yield source
    finally:
        _close(microphone, sounddevice)


class _Microphone:
    """Takes what the sound card's thread delivers."""

    def __init__(self, name: str, rate_hz: int, backlog_s: float) -> None:
        self.name, self.rate_hz = name, rate_hz
        self.start: datetime | None = None
        self._backlog = Backlog(max(1, int(backlog_s * rate_hz)))
        self._begun = Event()
        self._ends_s: float | None = None  # when the latest block ended, by the card's clock

    def hear(self, data: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:  # noqa: ANN401 - no stubs
        """Called in the sound card's thread."""
        begins_s, lost = float(times.inputBufferAdcTime), 0
        if self.start is None:  # the card's own idea of it is off by tenths of a second at first
            self.start = datetime.now(timezone.utc) - timedelta(seconds=frames / self.rate_hz)
            self._begun.set()
        if status.input_overflow and self._ends_s is not None:
            lost = max(1, round((begins_s - self._ends_s) * self.rate_hz))
        self._ends_s = begins_s + frames / self.rate_hz
        self._backlog.put(data[:, 0].copy(), lost)

    def close(self) -> None:
        """Nothing more will come; called in the sound card's thread."""
        self._backlog.close()
        self._begun.set()

    def wait(self, stop: Callable[[], bool]) -> None:
        """Until the first block is there, so that `start` is its time."""
        waited_s = 0.0
        while not self._begun.wait(_PATIENCE_S) and not stop():
            waited_s = self._be_patient(waited_s)

    def parts(self) -> Iterator[Part]:
        waited_s = 0.0
        while not self._backlog.ended:
            lost, chunk = self._backlog.take(_PATIENCE_S)
            waited_s = 0.0 if lost or chunk is not None else self._be_patient(waited_s)
            yield lost, np.zeros(0, np.float32) if chunk is None else chunk
        raise PlatformError(f"{self.name} delivers no more sound.", "a microphone that stays.")

    def _be_patient(self, waited_s: float) -> float:
        waited_s += _PATIENCE_S
        if waited_s >= _SILENCE_S:
            raise PlatformError(
                f"{self.name} has delivered nothing for {waited_s:g} s, not even silence.",
                "a microphone that records.",
                "see whether the sound server or the card hangs.",
            )
        return waited_s


def _close(microphone: Any, sounddevice: ModuleType) -> None:  # noqa: ANN401 - no stubs
    """Close it apart: PortAudio waits for a sound server that hangs, and nothing could end it."""
    closing = Thread(target=microphone.close, daemon=True)
    closing.start()
    closing.join(_CLOSING_S)
    if closing.is_alive() and (at_exit := getattr(sounddevice, "_exit_handler", None)):
        atexit.unregister(at_exit)  # it would wait as well


def _sounddevice() -> ModuleType:
    try:
        return require("sounddevice", "listen to a microphone")
    except MissingDependencyError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise MissingDependencyError(  # the package is there, and its C library is not
            error.got, error.expected, "apt install libportaudio2, or your system's PortAudio."
        ) from error
