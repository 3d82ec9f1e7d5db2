"""A classifier that listens: chunks in, events out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError, shorten
from gmme_edge.public import own_errors
from gmme_edge.runtime.streaming.chunks import Intake, LastSamples
from gmme_edge.runtime.streaming.events import Event, EventTracker, Gap
from gmme_edge.runtime.streaming.gate import ActivityGate, GateRules
from gmme_edge.runtime.streaming.grid import Span, make_grid
from gmme_edge.runtime.streaming.rules import EventRules, check_number

_LONGEST_GAP = 1 << 40  # samples: a year at 34 kHz


class WindowClassifier(Protocol):
    """What a stream needs of `gmme_edge.Classifier`."""

    labels: tuple[str, ...]
    sample_rate_hz: int

    @property
    def window_samples(self) -> int: ...

    def probabilities(self, waveform: object, sample_rate_hz: int) -> NDArray[np.float64]:
        """One window of `window_samples` to a probability per label."""
        ...


class WindowFollower(WindowClassifier, Protocol):
    """What `gmme_edge.IncrementalClassifier` offers beside that: it keeps what windows share."""

    hop_samples: int

    def probabilities_at(
        self, window: NDArray[np.float32], start: int, stream: object
    ) -> NDArray[np.float64]:
        """The window from sample `start` of the stream on, at the classifier's own rate."""
        ...

    def reset(self) -> None:
        """What comes next follows nothing."""
        ...


class Stream:
    """Events in a sound that comes in chunks. One stream serves one source and one thread.

    Any way of cutting the sound into chunks gives the same events, and so does the whole sound at
    once. Times count samples at the network's rate, and never drift. Memory does not grow.

    Args:
        classifier: as `gmme_edge.load` gives it; or as `gmme_edge.load_incremental` does, which
            should serve this stream alone: of streams in turns it computes whole windows.
        hop_ms: a window begins every so many milliseconds; default: a quarter of a window, or the
            one hop of an incremental classifier.
        rules: when probabilities become events.
        gate: what counts as activity; None computes every window.
        start: date and time of the first sample, with a time zone; events then carry UTC.

    Attributes:
        latest: probabilities of the latest window, zeros where the gate spared the network it;
            None before the first.
        windows, computed: how many windows have passed, and how many of them were computed.

    Raises:
        UsageError: no classifier, a hop longer than a window, a label that the network does not
            have, or a `start` without a time zone.
    """

    def __init__(
        self,
        classifier: WindowClassifier,
        hop_ms: float | None = None,
        rules: EventRules | None = None,
        gate: GateRules | None = GateRules(),  # noqa: B008 - frozen
        start: datetime | None = None,
    ) -> None:
        if not hasattr(classifier, "window_samples"):
            raise UsageError(
                f"The classifier is {shorten(classifier)}.", "what gmme_edge.load gives."
            )
        _check_kind("rules", rules, EventRules)
        _check_kind("gate", gate, GateRules)
        _check_kind("start", start, datetime)
        if start is not None and start.tzinfo is None:
            raise UsageError(
                f"The stream's start {start} has no time zone.",
                "an aware datetime.",
                "add one: start.replace(tzinfo=datetime.timezone.utc).",
            )
        self.labels, self.sample_rate_hz = tuple(classifier.labels), classifier.sample_rate_hz
        hop_samples = getattr(classifier, "hop_samples", None)
        self.grid = make_grid(self.sample_rate_hz, classifier.window_samples, hop_ms, hop_samples)
        self.rules, self.gate_rules = rules or EventRules(), gate
        self.start = None if start is None else _in_utc(start)
        self._classifier = classifier
        self._follower = None if hop_samples is None else cast(WindowFollower, classifier)
        self._identity = object()  # for the follower, which need not keep the stream alive
        self._intake = Intake(self.sample_rate_hz)
        self._last = LastSamples(self.grid.window_samples)
        self._gate = None if gate is None else ActivityGate(gate, self.sample_rate_hz)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next chunk is the first of a new sound, of any rate."""
        self._intake.reset()
        if self._gate is not None:
            self._gate.reset()
        self._tracker = EventTracker(self.labels, self.grid, self.rules, self.start)
        self._input_samples = 0  # at the source's rate, lost ones too
        self.latest: NDArray[np.float64] | None = None
        self.windows = self.computed = 0
        self._base = self._heard = 0
        self._start_segment()

    def push(self, chunk: NDArray[Any], sample_rate_hz: int) -> list[Event]:
        """Hear the next samples; the events that end with them, in the order of their ends.

        Args:
            chunk: ``(n,)`` or ``(n, channels)``, any length, also 0: floating point from -1 to 1,
                or int8, int16, int32 or uint8 at their full scale.
            sample_rate_hz: the same for all chunks up to `reset`.

        Raises:
            AudioError, UsageError: see `Intake.take`; the chunk then counts as not heard.
        """
        events: list[Event] = []
        with own_errors():
            for samples in self._intake.take(chunk, sample_rate_hz):
                events += self._hear(samples)
            self._input_samples += len(chunk)
        return events

    def flush(self) -> list[Event]:
        """Hear what is left, and end all open events: the sound ends here.

        What is pushed afterwards begins a new piece of the same stream; its times go on.
        """
        events = self._hear(self._intake.drain())
        tail = self.grid.tail(self._heard)
        if tail is not None:
            whole = self.grid.whole_windows(self._heard)
            events += self._classify(tail, (self.grid.cell(whole)[0], self._heard))
        events += self._tracker.finish(self._base + self._heard)
        self._start_segment()
        return events

    def skip(self, lost_samples: int, sample_rate_hz: int) -> list[Event | Gap]:
        """Sound was lost here: open events end, and the time goes on behind the gap.

        Args:
            lost_samples: how many, at the rate of the chunks.
            sample_rate_hz: that rate.

        Raises:
            UsageError: nothing was lost, or the rate changed.
        """
        check_number("lost_samples", lost_samples)
        if not 1 <= lost_samples <= _LONGEST_GAP or lost_samples != int(lost_samples):
            raise UsageError(f"A gap of {lost_samples} samples.", f"from 1 to {_LONGEST_GAP}.")
        lost_samples = int(lost_samples)
        self._intake.expect(sample_rate_hz)
        events: list[Event | Gap] = list(self.flush())
        start = self._base
        self._input_samples += lost_samples
        self._start_segment()
        events.append(Gap(start, self._base, self.sample_rate_hz, self.start, lost_samples))
        return events

    @property
    def open_events(self) -> tuple[Event, ...]:
        """Events that still go on, as they stand now."""
        return self._tracker.open_events

    @property
    def position_s(self) -> float:
        """How much has been heard, lost sound included."""
        return (self._base + self._heard) / self.sample_rate_hz

    def _start_segment(self) -> None:
        """What follows is cut into windows anew, from here on."""
        from_hz = self._intake.from_hz or self.sample_rate_hz
        passed = self._input_samples * self.sample_rate_hz // from_hz
        self._base = max(passed, self._base + self._heard)  # the resampler rounds up at times
        self._heard = self._index = 0
        self._last.clear()
        if self._follower is not None:
            self._follower.reset()
        if self._gate is not None:
            self._gate.start_segment()

    def _hear(self, samples: NDArray[np.float32]) -> list[Event]:
        """Take samples at the network's rate, and classify each window as it becomes whole."""
        events: list[Event] = []
        position = 0
        while position < len(samples):
            missing = self.grid.end(self._index) - self._heard
            part = samples[position : position + missing]
            self._last.extend(part)
            if self._gate is not None:
                self._gate.hear(part)
            position += len(part)
            self._heard += len(part)
            if len(part) == missing:
                events += self._classify(self.grid.start(self._index), self.grid.cell(self._index))
                self._index += 1
        return events

    def _classify(self, start: int, cell: Span) -> list[Event]:
        """Events that end with the window of the latest samples, which began at `start`."""
        found: NDArray[np.float64] | None = None
        if self._gate is None or self._gate.is_open(start):
            found = self._probabilities(self._last.window(), self._base + start)
            self.computed += 1
        self.latest = np.zeros(len(self.labels)) if found is None else found
        shifted = (self._base + cell[0], self._base + cell[1])
        events = self._tracker.hear(shifted, found, self.windows)
        self.windows += 1
        return events

    def _probabilities(self, window: NDArray[np.float32], start: int) -> NDArray[np.float64]:
        if self._follower is not None:
            return self._follower.probabilities_at(window, start, self._identity)
        return self._classifier.probabilities(window, self.sample_rate_hz)


def _check_kind(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{name} is {shorten(value)}.", f"{kind.__name__}, or None.")


def _in_utc(start: datetime) -> datetime:
    try:
        return start.astimezone(timezone.utc)
    except OverflowError as error:  # the first or the last day that Python knows
        raise UsageError(f"The stream's start {start} is {error}.", "a later date.") from error


def classify_windows(
    classifier: WindowClassifier, waveform: NDArray[np.float32], starts: Sequence[int]
) -> NDArray[np.float64]:
    """Probabilities of windows of a waveform at the network's rate; ``(len(starts), labels)``."""
    size = classifier.window_samples
    rows = []
    for start in starts:
        window = np.zeros(size, np.float32)
        known = waveform[start : start + size]
        window[: len(known)] = known
        rows.append(classifier.probabilities(window, classifier.sample_rate_hz))
    return np.array(rows).reshape(len(rows), len(classifier.labels))
