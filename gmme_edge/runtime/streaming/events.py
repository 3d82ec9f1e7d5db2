"""From the probabilities of windows to events, window by window or all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError
from gmme_edge.runtime.streaming.grid import Span, WindowGrid
from gmme_edge.runtime.streaming.rules import EventRules
from gmme_edge.runtime.streaming.track import Found, LabelTrack


@dataclass(frozen=True)
class Stretch:
    """Part of a stream: ``[start_sample, end_sample)`` at `sample_rate_hz`, counted from its start.

    `stream_start` is the date and time of sample 0, where that is known.
    """

    start_sample: int
    end_sample: int
    sample_rate_hz: int
    stream_start: datetime | None

    @property
    def start_s(self) -> float:
        return self.start_sample / self.sample_rate_hz

    @property
    def end_s(self) -> float:
        return self.end_sample / self.sample_rate_hz

    @property
    def start_utc(self) -> datetime | None:
        return self._utc(self.start_sample)

    @property
    def end_utc(self) -> datetime | None:
        return self._utc(self.end_sample)

    def _utc(self, sample: int) -> datetime | None:
        if self.stream_start is None:
            return None
        return self.stream_start + timedelta(microseconds=sample * 1_000_000 // self.sample_rate_hz)

    def to_dict(self) -> dict[str, Any]:
        """Times as JSON holds them."""
        found: dict[str, Any] = {
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "start_sample": self.start_sample,
            "end_sample": self.end_sample,
            "sample_rate_hz": self.sample_rate_hz,
        }
        if self.stream_start is not None:
            found["start_utc"], found["end_utc"] = (
                self._utc(sample).isoformat(timespec="milliseconds")  # type: ignore[union-attr]
                for sample in (self.start_sample, self.end_sample)
            )
        return found


@dataclass(frozen=True)
class Event(Stretch):
    """A sound that was heard.

    Attributes:
        peak, mean: the highest and the mean probability of the windows behind it, unsmoothed.
        first_window, last_window: their numbers, counted from the stream's start.
        windows: how many of them the network computed.
    """

    label: str
    peak: float
    mean: float
    first_window: int
    last_window: int
    windows: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "event",
            "label": self.label,
            **super().to_dict(),
            "peak": self.peak,
            "mean": self.mean,
            "first_window": self.first_window,
            "last_window": self.last_window,
            "windows": self.windows,
        }


@dataclass(frozen=True)
class Gap(Stretch):
    """Sound that was lost before it could be heard; `lost_samples` counts it at its own rate."""

    lost_samples: int

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "gap", **super().to_dict(), "lost_samples": self.lost_samples}


class EventTracker:
    """The rules at work: give it windows in order, take events.

    Args:
        stream_start: date and time of sample 0.

    Raises:
        UsageError: the rules name a label that is not in `labels`.
    """

    def __init__(
        self,
        labels: Sequence[str],
        grid: WindowGrid,
        rules: EventRules,
        stream_start: datetime | None = None,
    ) -> None:
        rate, hop_s = grid.sample_rate_hz, grid.hop_us / 1_000_000
        self._rate_hz, self._stream_start = rate, stream_start
        self._tracks = [
            LabelTrack(label, rules.of(label), rate) if wanted else None
            for label, wanted in zip(labels, rules.select(labels))  # noqa: B905 - Python 3.8
        ]
        each = [rules.of(label) for label in labels]
        self._weights = np.array(
            [1 - np.exp(-hop_s / rule.smoothing_s) if rule.smoothing_s else 1.0 for rule in each]
        )
        self._smooth: NDArray[np.float64] | None = None
        self._last: tuple[NDArray[np.float64] | None, int] = (None, -1)
        self._heard_until = 0

    @property
    def open_events(self) -> tuple[Event, ...]:
        """Events that still go on, as they stand now; none that is too short yet."""
        found = (track.snapshot() for track in self._tracks if track is not None)
        return tuple(self._event(one) for one in found if one is not None)

    def hear(
        self, cell: Span, probabilities: NDArray[np.float64] | None, window: int
    ) -> list[Event]:
        """Events that end with this window.

        Args:
            cell: what the window speaks for, ``[start, end)``; it touches the one before.
            probabilities: ``(labels,)``; None where the gate spared the network the window, which
                counts as 0 and begins no event.
            window: its number.
        """
        raw = np.zeros(len(self._tracks)) if probabilities is None else probabilities
        if self._smooth is None:
            self._smooth = np.array(raw, np.float64)
        else:
            self._smooth += self._weights * (raw - self._smooth)
        self._last = (probabilities, window)
        return self._follow(cell)

    def finish(self, end_sample: int) -> list[Event]:
        """End what is open, because the sound ends at `end_sample` or is interrupted there.

        The last window speaks for what follows its cell.
        """
        events = self._follow((self._heard_until, end_sample))
        self._smooth = None
        found = [one for track in self._tracks if track is not None for one in track.finish()]
        return events + [self._event(one) for one in found]

    def _follow(self, cell: Span) -> list[Event]:
        """Give every track that it concerns the last window's probabilities for `cell`."""
        found: list[Found] = []
        if self._smooth is None or cell[0] >= cell[1]:
            return []
        raw, window = self._last
        for index, track in enumerate(self._tracks):
            smooth = float(self._smooth[index])
            if track is not None and not (track.is_quiet and smooth < track.on):
                found += track.hear(
                    cell, smooth, None if raw is None else float(raw[index]), window
                )
        self._heard_until = cell[1]
        return [self._event(one) for one in found]

    def _event(self, one: Found) -> Event:
        return Event(
            start_sample=one.start,
            end_sample=one.end,
            sample_rate_hz=self._rate_hz,
            stream_start=self._stream_start,
            label=one.label,
            peak=one.peak,
            mean=one.total / one.windows,
            first_window=one.first_window,
            last_window=one.last_window,
            windows=one.windows,
        )


def find_events(
    probabilities: NDArray[np.floating[Any]],
    total_samples: int,
    labels: Sequence[str],
    grid: WindowGrid,
    rules: EventRules | None = None,
    stream_start: datetime | None = None,
) -> list[Event]:
    """All events of a sound whose windows were computed before.

    Args:
        probabilities: ``(windows, labels)``, one row for each of `grid.starts(total_samples)`; a
            row of NaN is a window that the gate spared the network.
        total_samples: the sound's length at the grid's rate.

    Raises:
        UsageError: another number of rows or columns.
    """
    whole, tail = grid.whole_windows(total_samples), grid.tail(total_samples)
    expected = (whole + (tail is not None), len(labels))
    if probabilities.shape != expected:
        raise UsageError(
            f"Probabilities of shape {probabilities.shape}.", f"(windows, labels) = {expected}."
        )
    rows = (None if np.isnan(row).any() else row for row in np.asarray(probabilities, np.float64))
    return follow_windows(rows, total_samples, labels, grid, rules, stream_start)


def follow_windows(
    rows: Iterable[NDArray[np.float64] | None],
    total_samples: int,
    labels: Sequence[str],
    grid: WindowGrid,
    rules: EventRules | None = None,
    stream_start: datetime | None = None,
) -> list[Event]:
    """As `find_events`, window by window: probabilities, or None where the gate spared one."""
    tracker = EventTracker(labels, grid, rules or EventRules(), stream_start)
    whole = grid.whole_windows(total_samples)
    events: list[Event] = []
    for window, row in enumerate(rows):
        start, end = grid.cell(window)
        events += tracker.hear((start, end if window < whole else total_samples), row, window)
    return events + tracker.finish(total_samples)
