"""What a scan's journal holds, for those that read it: a row at a time."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import InputError, shorten
from gmme_edge.workflows.archive.embeddings import record_type
from gmme_edge.workflows.archive.heard import Row

_HEARD = "WHERE wanted AND state = 'heard'"


@dataclass(frozen=True)
class Counts:
    """Recordings of the latest call, by state, and the events in those that were heard.

    Attributes:
        segments_heard, segments_left: of divided recordings that are still in work.
    """

    heard: int
    failed: int
    left: int
    events: int
    duration_s: float
    segments_heard: int = 0
    segments_left: int = 0

    @property
    def total(self) -> int:
        return self.heard + self.failed + self.left


class Findings:
    """The reading half of a `Journal`."""

    _base: sqlite3.Connection

    def counts(self) -> Counts:
        rows = self._base.execute(
            "SELECT state, COUNT(*), SUM(duration_s) FROM recordings WHERE wanted GROUP BY state"
        ).fetchall()
        states = {state: number for state, number, _ in rows}
        events = self._base.execute(
            "SELECT COUNT(*) FROM events JOIN recordings USING (path) "
            "WHERE wanted AND state = 'heard'"
        ).fetchone()[0]
        done, segments = self._segments()
        return Counts(
            segments_heard=done,
            segments_left=segments - done,
            heard=states.get("heard", 0),
            failed=states.get("failed", 0),
            left=states.get("left", 0),
            events=events,
            duration_s=sum(_number(seconds) for state, _, seconds in rows if state == "heard"),
        )

    def _segments(self) -> tuple[int, int]:
        """How many segments are heard, and of how many; journals of older versions know none."""
        work = "JOIN recordings USING (path) WHERE wanted AND state = 'left'"
        try:
            done = f"SELECT COUNT(*) FROM segments JOIN divisions USING (path) {work}"
            total = f"SELECT COALESCE(SUM(n_segments), 0) FROM divisions {work}"
            found = [self._base.execute(query).fetchone()[0] for query in (done, total)]
        except sqlite3.OperationalError:
            return 0, 0
        return found[0], found[1]

    def events(self) -> Iterator[tuple[bytes, float, Row]]:
        """Path, seconds of all recordings before it, and event; by path, then start."""
        before_s, current, length_s = 0.0, b"", 0.0
        for path, duration_s, *row in self._base.execute(
            "SELECT path, duration_s, start_s, end_s, start_utc, end_utc, label, confidence, mean "
            "FROM recordings LEFT JOIN events USING (path) WHERE wanted AND state = 'heard' "
            "ORDER BY path, number"
        ):
            if path != current:
                before_s, current, length_s = before_s + length_s, path, _number(duration_s)
            if row[0] is not None:
                yield path, before_s, _row(*row)

    def failed(self) -> Iterator[tuple[bytes, str]]:
        """Recordings that could not be heard, by path, each with the reason."""
        yield from self._base.execute(
            "SELECT path, reason FROM recordings WHERE wanted AND state = 'failed' ORDER BY path"
        )

    def folder(self) -> Path:
        """The deepest folder that holds all recordings that were heard."""
        common = b""
        for (path,) in self._base.execute(
            "SELECT path FROM recordings WHERE wanted AND state = 'heard'"
        ):
            parent = os.fsencode(Path(os.fsdecode(absolute(path))).parent)
            common = os.path.commonpath([common, parent]) if common else parent
        return Path(os.fsdecode(common))

    def spans(self) -> Iterator[tuple[str, float]]:
        """Start in UTC and seconds of each recording that has a date."""
        for start_utc, duration_s in self._base.execute(
            "SELECT start_utc, duration_s FROM recordings JOIN details USING (path) "
            f"{_HEARD} AND start_utc != ''"
        ):
            yield _time(start_utc), _number(duration_s)

    def first_and_last(self) -> tuple[datetime, datetime] | None:
        """When the recordings with dates begin, and when the last of them ends."""
        dated = f"FROM recordings JOIN details USING (path) {_HEARD} AND start_utc != ''"
        first = self._base.execute(f"SELECT MIN(start_utc) {dated}").fetchone()[0]
        if first is None:
            return None
        last, duration_s = self._base.execute(
            f"SELECT start_utc, duration_s {dated} ORDER BY start_utc DESC LIMIT 1"
        ).fetchone()
        end = datetime.fromisoformat(_time(last)) + timedelta(seconds=_number(duration_s))
        return datetime.fromisoformat(_time(first)), end

    def count_embeddings(self, width: int) -> int:
        """How many windows have vectors, of `width`."""
        size = self._base.execute(
            f"SELECT SUM(LENGTH(records)) FROM recordings JOIN embeddings USING (path) {_HEARD}"
        ).fetchone()[0]
        return int(_number(size or 0)) // record_type(width).itemsize

    def embeddings(self, width: int) -> Iterator[tuple[bytes, str, float, NDArray[Any]]]:
        """Path, its start in UTC, its seconds, and records of `Spool`; by path, then start."""
        recordings = self._base.execute(
            "SELECT path, start_utc, duration_s FROM recordings JOIN details USING (path) "
            f"{_HEARD} ORDER BY path"
        )
        for path, start_utc, duration_s in recordings:
            for (records,) in self._base.execute(
                "SELECT records FROM embeddings WHERE path = ? ORDER BY block", (path,)
            ):
                kind = record_type(width)
                if not isinstance(records, bytes) or len(records) % kind.itemsize:
                    raise damaged(records)
                found = np.frombuffer(records, kind)
                yield path, _time(start_utc), _number(duration_s), found


def _row(*values: object) -> Row:
    start_s, end_s, start_utc, end_utc, label, confidence, mean = values
    if not isinstance(label, str):
        raise damaged(label)
    return Row(
        start_s=_number(start_s),
        end_s=_number(end_s),
        start_utc=_time(start_utc),
        end_utc=_time(end_utc),
        label=label,
        confidence=_number(confidence),
        mean=_number(mean),
    )


def _number(value: object) -> float:
    """What a journal must hold in this place; SQLite does not see to it."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return value
    raise damaged(value)


def _time(value: object) -> str:
    """In ISO 8601 and UTC, or empty."""
    try:
        if value == "" or datetime.fromisoformat(str(value)).tzinfo is not None:
            return str(value)
    except ValueError:
        pass
    raise damaged(value)


def damaged(value: object) -> InputError:
    """The error about a value that no scan writes."""
    return InputError(
        f"The scan's journal is damaged: it holds {shorten(value)}.",
        "what a scan wrote.",
        "begin anew with --restart.",
    )


def absolute(path: bytes) -> bytes:
    """The path for a worker that was started in another folder."""
    return os.fsencode(Path(os.fsdecode(path)).absolute())
