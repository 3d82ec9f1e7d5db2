"""What a worker is given, and what it gives back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from gmme_edge.runtime.streaming.events import Event, Stretch
from gmme_edge.runtime.streaming.grid import WindowGrid
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import parse_zone


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

    def zone(self) -> tzinfo | None:
        return None if self.timezone is None else parse_zone(self.timezone)


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


@dataclass(frozen=True)
class Division:
    """A long recording that several workers hear, a segment each; memory does not bound it.

    A segment holds the windows that begin within its `segment_samples`.

    Attributes:
        channel: the only one that is heard; None: the mean of all.
        asked: a bit per window, whether the network is to compute it; empty: all of them.
    """

    grid: WindowGrid
    n_samples: int
    segment_samples: int
    channel: int | None
    notes: tuple[str, ...]
    start_utc: str
    asked: bytes

    @property
    def n_windows(self) -> int:
        whole = self.grid.whole_windows(self.n_samples)
        return whole + (self.grid.tail(self.n_samples) is not None)

    @property
    def n_segments(self) -> int:
        return self.start(self.n_windows - 1) // self.segment_samples + 1

    @property
    def is_whole(self) -> bool:
        """Whether there is a bit for each window; a journal may be damaged."""
        return not self.asked or 0 <= 8 * len(self.asked) - self.n_windows < 8

    def start(self, window: int) -> int:
        """The window's first sample."""
        if window < self.grid.whole_windows(self.n_samples):
            return self.grid.start(window)
        return self.n_samples - self.grid.window_samples

    def windows(self, segment: int) -> range:
        """Those of a segment."""
        first, after = (
            bisect_left(range(self.n_windows), number * self.segment_samples, key=self.start)
            for number in (segment, segment + 1)
        )
        return range(first, after)

    def asks(self, window: int) -> bool:
        return not self.asked or bool(self.asked[window >> 3] >> (7 - (window & 7)) & 1)


@dataclass(frozen=True)
class Segment:
    """Part of a divided recording.

    Attributes:
        probabilities: of the windows that were asked for, float64, ``(windows, labels)`` in a row.
        spooled: as in `Heard`.
        error: why it cannot be heard; then the recording cannot.
    """

    probabilities: bytes = b""
    spooled: str = ""
    error: str = ""


def row_of(event: Event, first: int, start: datetime | None) -> Row:
    """The event in a recording whose first sample is the stream's sample `first`, at `start`."""
    within = Stretch(
        start_sample=event.start_sample - first,
        end_sample=event.end_sample - first,
        sample_rate_hz=event.sample_rate_hz,
        stream_start=start,
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


def in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """As the results have them."""
    return tuple(sorted(rows, key=lambda row: (row.start_s, row.label, row.end_s)))


def stamp(start: datetime | None) -> str:
    """A date as results hold it; empty where it is not known."""
    return "" if start is None else start.isoformat(timespec="microseconds")
