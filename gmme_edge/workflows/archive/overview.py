"""From a scan's journal to the page that shows its archive: counts over time, and sounds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from heapq import heappush, heappushpop
from itertools import islice
from pathlib import Path
from typing import Any

from gmme_edge.files import write_text
from gmme_edge.report.render.overview import Clip, Overview, Timeline, render_overview
from gmme_edge.workflows.archive.excerpts import cut_clip
from gmme_edge.workflows.archive.findings import Findings
from gmme_edge.workflows.archive.heard import Row
from gmme_edge.workflows.archive.tables import name_of

PAGE = "overview.html"
_CLIPS, _LABELS = 4, 40  # sounds of a label, and labels with sounds: the page stays small
_COLUMNS = 48
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_UNITS = (
    ("hour", _HOUR, "%Y-%m-%d %H", "%d. %Hh"),
    ("day", _DAY, "%Y-%m-%d", "%m-%d"),
    ("month", _DAY, "%Y-%m", "%Y-%m"),
    ("year", _DAY, "%Y", "%Y"),
)

_Ranked = tuple[float, int, bytes, Row]  # confidence, minus its number, path, event


def write_overview(
    folder: Path, journal: Findings, head: Mapping[str, Any], zone: tzinfo | None
) -> Path:
    """Write the page; times of day in `zone`, else in UTC.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    path = folder / PAGE
    write_text(path, render_overview(_look(journal, head, zone or timezone.utc)))
    return path


@dataclass
class _Axis:
    """Stretches of time, and what is counted in them: never more than there are columns."""

    title: str
    columns: list[str]
    column_of: Callable[[datetime], int]
    events: Counter[tuple[str, int]] = field(default_factory=Counter)
    recorded_h: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    def timeline(self, labels: list[str]) -> Timeline:
        columns = range(len(self.columns))
        return Timeline(
            title=self.title,
            columns=self.columns,
            recorded_h=[self.recorded_h[k] for k in columns],
            counts={label: [self.events[label, k] for k in columns] for label in labels},
        )


def _look(journal: Findings, head: Mapping[str, Any], zone: tzinfo) -> Overview:
    axes = _axes(journal, zone)
    labels: Counter[str] = Counter()
    best: dict[str, list[_Ranked]] = {}
    for number, (path, _, row) in enumerate(journal.events()):
        labels[row.label] += 1
        _rank(best.setdefault(row.label, []), (row.confidence, -number, path, row))
        if row.start_utc:
            begins = datetime.fromisoformat(row.start_utc)
            for axis in axes:
                axis.events[row.label, axis.column_of(begins)] += 1
    for start_utc, duration_s in journal.spans():
        for at, hours in _hours(datetime.fromisoformat(start_utc), duration_s):
            for axis in axes:
                axis.recorded_h[axis.column_of(at)] += hours
    ordered = dict(sorted(labels.items(), key=lambda item: (-item[1], item)))
    shown = [axis.timeline(list(ordered)) for axis in axes] or [_position(journal, list(ordered))]
    rate_hz = int(head["sample_rate_hz"])
    clips = {
        label: [_clip(path, row, rate_hz) for _, _, path, row in sorted(best[label], reverse=True)]
        for label in list(ordered)[:_LABELS]
    }
    return Overview(_facts(journal, head, zone), ordered, shown if ordered else [], clips)


def _rank(heap: list[_Ranked], one: _Ranked) -> None:
    """Keep the most confident, and of equal ones the first."""
    if len(heap) < _CLIPS:
        heappush(heap, one)
    elif one[:2] > heap[0][:2]:
        heappushpop(heap, one)


def _facts(journal: Findings, head: Mapping[str, Any], zone: tzinfo) -> dict[str, str]:
    counts, found = journal.counts(), {}
    found["Recordings"] = f"{counts.heard:,} ({counts.duration_s / 3600:,.2f} h)"
    if counts.failed:
        found["Skipped"] = f"{counts.failed:,}; see skipped.csv"
    found["Events"] = f"{counts.events:,}"
    found["Network"] = f"{head['model']} {head['precision']}, {head['model_sha256'][:16]}…"
    found["Times of day"] = str(head["parameters"]["timezone"] or "UTC")
    undated = counts.heard - sum(1 for _ in journal.spans())
    if undated:
        told = f"{undated:,} recordings, which the tables by time leave out"
        if head["parameters"]["timezone"] is None:
            told += "; a name without a time zone is a date only with --timezone"
        found["Without a date"] = told
    return found


def _axes(journal: Findings, zone: tzinfo) -> list[_Axis]:
    """Hours of the day, and the archive from its first hour to its last; none without dates."""
    ends = journal.first_and_last()
    if ends is None:
        return []
    by_hour = _Axis(
        f"Events by hour of the day ({zone})",
        [f"{hour:02d}" for hour in range(24)],
        lambda at: at.astimezone(zone).hour,
    )
    return [by_hour, _calendar(ends[0].astimezone(zone), ends[1].astimezone(zone), zone)]


def _calendar(first: datetime, last: datetime, zone: tzinfo) -> _Axis:
    """The finest of hours, days, months and years that needs few enough columns."""
    tried = (
        (list(islice(_keys(first, last, step, form), _COLUMNS + 1)), unit, form, short)
        for unit, step, form, short in _UNITS
    )
    keys, unit, form, short = next(
        one for one in tried if len(one[0]) <= _COLUMNS or one[1] == _UNITS[-1][0]
    )
    places = {key: k for k, key in enumerate(keys)}
    names = [datetime.strptime(key, form).strftime(short) for key in keys]

    def column_of(at: datetime) -> int:
        key = at.astimezone(zone).strftime(form)
        return places.get(key, 0 if key < keys[0] else len(keys) - 1)

    return _Axis(f"Events by {unit}, {keys[0]} to {keys[-1]}", names, column_of)


def _keys(first: datetime, last: datetime, step: timedelta, form: str) -> Iterator[str]:
    """The names of all stretches from the first to the last, each once."""
    at, latest = first, ""
    while True:
        if (key := at.strftime(form)) != latest:
            yield key
        if at >= last:
            return
        at, latest = min(at + step, last), key


def _position(journal: Findings, labels: list[str]) -> Timeline:
    """Where no recording has a date: by hours of sound from the first recording on."""
    hours = journal.counts().duration_s / 3600
    step_h = max(1, -(-int(hours + 1) // _COLUMNS))
    columns = range(int(hours / step_h) + 1)
    found: Counter[tuple[str, int]] = Counter()
    for _, before_s, row in journal.events():
        found[row.label, min(int((before_s + row.start_s) / 3600 / step_h), columns[-1])] += 1
    return Timeline(
        title="Events by hours of sound, all recordings in a row",
        columns=[str(k * step_h) for k in columns],
        recorded_h=[min(step_h, max(0.0, hours - k * step_h)) for k in columns],
        counts={label: [found[label, k] for k in columns] for label in labels},
    )


def _hours(start: datetime, duration_s: float) -> Iterator[tuple[datetime, float]]:
    """A recording cut at full hours: where each part begins, and how many hours it lasts."""
    at, end = start, start + timedelta(seconds=duration_s)
    while at < end:
        following = at.replace(minute=0, second=0, microsecond=0) + _HOUR
        yield at, (min(following, end) - at) / _HOUR
        at = following


def _clip(path: bytes, row: Row, rate_hz: int) -> Clip:
    found = cut_clip(path, row.start_s, row.end_s, rate_hz)
    return Clip(
        path=name_of(path),
        start_s=row.start_s,
        end_s=row.end_s,
        start_utc=row.start_utc,
        confidence=row.confidence,
        seconds=found.seconds,
        top_khz=found.top_khz,
        picture=found.picture,
        sound=found.sound,
        sound_type=found.sound_type,
    )
