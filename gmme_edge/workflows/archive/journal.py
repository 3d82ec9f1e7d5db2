"""What a scan has heard and what is left, as an SQLite file: whole whenever the process is killed.

meta        key, value: schema and parameters
recordings  path (bytes, so that any file name fits), size and time of change, state, …
events      one row each, by recording
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from gmme_edge.errors import InputError, UsageError
from gmme_edge.workflows.archive.hearing import Heard, Row

NAME = "journal.sqlite"
_SCHEMA = 1
_COMMIT_EVERY_S = 1.0
_PATIENCE_S = 5.0  # while another process puts its notes on the disk
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE recordings (
    path BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    wanted INTEGER NOT NULL, state TEXT NOT NULL, duration_s REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', notes TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE events (
    path BLOB NOT NULL, number INTEGER NOT NULL, start_s REAL, end_s REAL, start_utc TEXT,
    end_utc TEXT, label TEXT, confidence REAL, mean REAL, PRIMARY KEY (path, number)
) WITHOUT ROWID;
"""
_LISTED = """
INSERT INTO recordings (path, size_bytes, changed_ns, wanted, state) VALUES (?, ?, ?, ?, 'left')
ON CONFLICT (path) DO UPDATE SET wanted = excluded.wanted,
    state = CASE WHEN size_bytes = excluded.size_bytes AND changed_ns = excluded.changed_ns
            THEN state ELSE 'left' END,
    size_bytes = excluded.size_bytes, changed_ns = excluded.changed_ns
"""


@dataclass(frozen=True)
class Counts:
    """Recordings of the latest call, by state, and the events in those that were heard."""

    heard: int
    failed: int
    left: int
    events: int
    duration_s: float

    @property
    def total(self) -> int:
        return self.heard + self.failed + self.left


class Journal:
    """One scan's memory. One process writes at a time; others may read.

    Raises:
        InputError: no journal, where it is not to be made; or a file that is none.
        UsageError: another process writes to it.
    """

    def __init__(self, folder: Path, create: bool = False) -> None:
        self.path = folder / NAME
        if not create and not self.path.is_file():
            raise InputError(f"{folder} holds no journal of a scan.", "the -o folder of one.")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
            fresh = not self._base.execute("SELECT name FROM sqlite_master").fetchall()
            if fresh:
                self._base.executescript(f"BEGIN; {_TABLES} COMMIT;")
                self._note("schema", _SCHEMA)
            schema = self._meta("schema")
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path} cannot be opened: {error}", "a scan's journal."
            ) from error
        if schema != _SCHEMA:
            raise InputError(f"{self.path} has schema {schema}.", f"schema {_SCHEMA}.")
        self._committed_s = time.monotonic()

    def close(self) -> None:
        if self._base.in_transaction:
            self._base.execute("COMMIT")
        self._base.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def claim(self, parameters: Mapping[str, Any], restart: bool) -> None:
        """Become the one that writes, with these parameters.

        Raises:
            UsageError: the journal was begun with others, or another process writes to it.
        """
        try:
            self._base.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"{self.path} is in use.", "one scan at a time.", "wait for the other to end."
            ) from error
        if restart:
            for table in ("events", "recordings"):
                self._base.execute(f"DELETE FROM {table}")
        before = None if restart else self._meta("parameters")
        if before is not None and before != json.loads(json.dumps(parameters)):
            self._base.execute("ROLLBACK")
            changed = [key for key in parameters if before.get(key) != parameters[key]]
            raise UsageError(
                f"The scan in {self.path.parent} was begun with other parameters: "
                f"{', '.join(changed) or 'of another version'}.",
                "the same network, rules and time zone.",
                "choose another -o, or begin anew with --restart.",
            )
        self._note("parameters", parameters)
        self._base.execute("UPDATE recordings SET wanted = 0")
        self._commit()

    def add(self, paths: Iterable[bytes]) -> None:
        """Want these recordings. Those that changed since they were heard are heard again."""
        for number, path in enumerate(paths):
            try:
                found = Path(os.fsdecode(path)).stat()
                facts = found.st_size, found.st_mtime_ns
            except OSError:  # the decoder tells why it cannot be heard
                facts = -1, -1
            self._base.execute(_LISTED, (path, *facts, 1))
            if number % 1000 == 999:
                self._commit()
        self._commit()

    def left(self) -> Iterator[bytes]:
        """Recordings that are still to be heard, by path; what is noted meanwhile does no harm."""
        last = b""
        while page := self._base.execute(
            "SELECT path FROM recordings WHERE wanted AND state = 'left' AND path > ? "
            "ORDER BY path LIMIT 256",
            (last,),
        ).fetchall():
            for (last,) in page:
                yield last

    def note(self, path: bytes, heard: Heard) -> None:
        """Keep what was found in a recording."""
        run = self._base.execute
        run("DELETE FROM events WHERE path = ?", (path,))
        self._base.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((path, number, *astuple(row)) for number, row in enumerate(heard.rows)),
        )
        run(
            "UPDATE recordings SET state = ?, duration_s = ?, reason = ?, notes = ? WHERE path = ?",
            (
                "failed" if heard.error else "heard",
                heard.duration_s,
                _storable(heard.error),
                _storable("; ".join(heard.notes)),
                path,
            ),
        )
        if time.monotonic() - self._committed_s > _COMMIT_EVERY_S:
            self._commit()

    def counts(self) -> Counts:
        rows = self._base.execute(
            "SELECT state, COUNT(*), SUM(duration_s) FROM recordings WHERE wanted GROUP BY state"
        ).fetchall()
        states = {state: number for state, number, _ in rows}
        events = self._base.execute(
            "SELECT COUNT(*) FROM events JOIN recordings USING (path) "
            "WHERE wanted AND state = 'heard'"
        ).fetchone()[0]
        return Counts(
            heard=states.get("heard", 0),
            failed=states.get("failed", 0),
            left=states.get("left", 0),
            events=events,
            duration_s=sum(seconds for state, _, seconds in rows if state == "heard"),
        )

    def events(self) -> Iterator[tuple[bytes, float, Row]]:
        """Path, seconds of all recordings before it, and event; by path, then start."""
        before_s, current, length_s = 0.0, b"", 0.0
        for path, duration_s, *row in self._base.execute(
            "SELECT path, duration_s, start_s, end_s, start_utc, end_utc, label, confidence, mean "
            "FROM recordings LEFT JOIN events USING (path) WHERE wanted AND state = 'heard' "
            "ORDER BY path, number"
        ):
            if path != current:
                before_s, current, length_s = before_s + length_s, path, duration_s
            if row[0] is not None:
                yield path, before_s, Row(*row)

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

    @property
    def parameters(self) -> dict[str, Any]:
        return self._meta("parameters") or {}

    def commit(self) -> None:
        """Put what was noted on the disk."""
        if self._base.in_transaction:
            self._base.execute("COMMIT")

    def _commit(self) -> None:
        self.commit()
        self._base.execute("BEGIN IMMEDIATE")
        self._committed_s = time.monotonic()

    def _meta(self, key: str) -> Any:  # noqa: ANN401 - JSON
        found = self._base.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def _note(self, key: str, value: object) -> None:
        self._base.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True))
        )


def absolute(path: bytes) -> bytes:
    """The path for a worker that was started in another folder."""
    return os.fsencode(Path(os.fsdecode(path)).absolute())


def _storable(text: str) -> str:
    """File names in messages need not be UTF-8, and SQLite's text must be."""
    return text.encode(errors="backslashreplace").decode()
