"""What a scan has heard and what is left, as an SQLite file: whole whenever the process is killed.

meta        key, value: schema and parameters
recordings  path (bytes, so that any file name fits), size and time of change, state, …
events      one row each, by recording
details     by recording: when it began, and which others it was heard with
embeddings  some thousand windows a row, by recording, as `Spool` writes them
and of long recordings in work: see `divisions`
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from gmme_edge.errors import InputError, UsageError
from gmme_edge.workflows.archive.divisions import TABLES, Divisions
from gmme_edge.workflows.archive.heard import Division, Heard, Segment

NAME = "journal.sqlite"
_SCHEMA = 1
_COMMIT_EVERY_S = 1.0
_PATIENCE_S = 5.0  # while another process puts its notes on the disk
_BEGIN = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS recordings (
    path BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    wanted INTEGER NOT NULL, state TEXT NOT NULL, duration_s REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', notes TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    path BLOB NOT NULL, number INTEGER NOT NULL, start_s REAL, end_s REAL, start_utc TEXT,
    end_utc TEXT, label TEXT, confidence REAL, mean REAL, PRIMARY KEY (path, number)
) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('schema', '{_SCHEMA}');
COMMIT;
"""
_LATER_TABLES = (  # journals of older versions lack them
    "CREATE TABLE IF NOT EXISTS details (path BLOB PRIMARY KEY, "
    "start_utc TEXT NOT NULL DEFAULT '', joined TEXT NOT NULL DEFAULT '') WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS embeddings (path BLOB NOT NULL, block INTEGER NOT NULL, "
    "records BLOB NOT NULL, PRIMARY KEY (path, block))",
    *TABLES,
)
# Parameter → the option that it comes from.
_OPTIONS = {
    "model_sha256": "-m", "precision": "--precision", "backend": "--backend", "hop_us": "--hop-ms",
    "timezone": "--timezone", "embedding_width": "--embeddings", "join": "--join",
}  # fmt: skip
_EMPTIED = ("events", "recordings", "details", "embeddings", "divisions", "segments")
_LISTED = """
INSERT INTO recordings (path, size_bytes, changed_ns, wanted, state) VALUES (?, ?, ?, ?, 'left')
ON CONFLICT (path) DO UPDATE SET wanted = excluded.wanted,
    state = CASE WHEN size_bytes = excluded.size_bytes AND changed_ns = excluded.changed_ns
            THEN state ELSE 'left' END,
    size_bytes = excluded.size_bytes, changed_ns = excluded.changed_ns
"""


class Journal(Divisions):
    """One scan's memory. One process writes at a time; others may read.

    Raises:
        InputError: no journal, where it is not to be made; or a file that is none.
        UsageError: another process writes to it.
    """

    def __init__(self, folder: Path, create: bool = False) -> None:
        self.path, self._spool = folder / NAME, folder / ".embeddings"
        if not create and not self.path.is_file():
            raise InputError(f"{folder} holds no journal of a scan.", "the -o folder of one.")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
            fresh = not self._base.execute("SELECT name FROM sqlite_master").fetchall()
            if fresh:
                self._base.executescript(_BEGIN)  # another process may be at it as well
            schema = self._meta("schema")
        except sqlite3.DatabaseError as error:
            got = f"{self.path} cannot be opened: {error}"
            raise InputError(got, "a scan's journal.") from error
        if schema != _SCHEMA:
            raise InputError(f"{self.path} has schema {schema}.", f"schema {_SCHEMA}.")
        self._width = 0
        self._committed_s = time.monotonic()

    @property
    def spool(self) -> Path:
        """Where workers put embeddings until they are noted; there while they are wanted."""
        return self._spool

    def close(self) -> None:
        if self._base.in_transaction:
            self._base.execute("COMMIT")
        self._base.close()
        if self._width:
            shutil.rmtree(self.spool, ignore_errors=True)

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
        for statement in _LATER_TABLES:
            self._base.execute(statement)
        if restart:
            for table in _EMPTIED:
                self._base.execute(f"DELETE FROM {table}")
        before = None if restart else self._meta("parameters")
        if before is not None and before != json.loads(json.dumps(parameters)):
            self._base.execute("ROLLBACK")
            keys = sorted({*before, *parameters})
            changed = [
                _OPTIONS.get(key, key) for key in keys if before.get(key) != parameters.get(key)
            ]
            raise UsageError(
                f"The scan in {self.path.parent} was begun with other options: "
                f"{', '.join(changed) or 'those of another version'}.",
                "the same network, backend, rules, gate, time zone, --embeddings and --join.",
                "choose another -o, or begin anew with --restart.",
            )
        self._note("parameters", parameters)
        self._base.execute("UPDATE recordings SET wanted = 0")
        self._commit()
        self._width = int(parameters.get("embedding_width", 0))
        shutil.rmtree(self.spool, ignore_errors=True)  # what a killed scan left there
        if self._width:
            self.spool.mkdir()

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

    def join(self, pieces: Iterable[tuple[bytes, ...]]) -> None:
        """Say what is heard together. What was heard in other company is heard again."""
        for number, piece in enumerate(pieces):
            self._join_one(piece)
            if number % 1000 == 999:
                self._commit()
        self._commit()

    def _join_one(self, piece: tuple[bytes, ...]) -> None:
        mark = sha256(b"\0".join(piece)).hexdigest() if len(piece) > 1 else ""
        facts = "SELECT state, joined FROM recordings LEFT JOIN details USING (path) WHERE path = ?"
        found = [self._base.execute(facts, (path,)).fetchone() for path in piece]
        for path in piece:
            self._base.execute(
                "INSERT INTO details (path, joined) VALUES (?, ?) "
                "ON CONFLICT (path) DO UPDATE SET joined = excluded.joined",
                (path, mark),
            )
            if any(state == "left" or (joined or "") != mark for state, joined in found):
                self._base.execute("UPDATE recordings SET state = 'left' WHERE path = ?", (path,))

    def left(self) -> Iterator[tuple[bytes, ...]]:
        """Recordings that are still to be heard, by path, those that are joined together.

        What is noted meanwhile does no harm.
        """
        for mark, group in groupby(self._left(), key=lambda found: found[1]):
            paths = tuple(path for path, _ in group)
            yield from [paths] if mark else ((path,) for path in paths)

    def _left(self) -> Iterator[tuple[bytes, str]]:
        last = b""
        while page := self._base.execute(
            "SELECT path, joined FROM recordings LEFT JOIN details USING (path) "
            "WHERE wanted AND state = 'left' AND path > ? ORDER BY path LIMIT 256",
            (last,),
        ).fetchall():
            for last, mark in page:
                yield last, mark or ""

    def wanted(self) -> Iterator[bytes]:
        """All recordings of this call, by path."""
        last = b""
        while page := self._base.execute(
            "SELECT path FROM recordings WHERE wanted AND path > ? ORDER BY path LIMIT 256", (last,)
        ).fetchall():
            for (last,) in page:
                yield last

    def note(self, found: Mapping[bytes, Heard]) -> None:
        """Keep what was found in recordings that were heard together: all of it or nothing."""
        for path, heard in found.items():
            self._forget_segments(path)
            self._forget_embeddings(path)
            self._note_embeddings(path, heard.spooled, 0)
            self._note_one(path, heard)
        self.settle([heard.spooled for heard in found.values() if heard.spooled])

    def note_division(self, path: bytes, division: Division) -> None:
        """Remember how a recording is divided."""
        self._note_division(path, division)
        self.settle()

    def note_segment(self, path: bytes, number: int, found: Segment) -> None:
        """Keep what was found in a segment; a scan that is stopped does not hear it again."""
        self._note_segment(path, number, found)
        self.settle([found.spooled] if found.spooled else ())

    def note_divided(self, path: bytes, heard: Heard) -> None:
        """Keep what all segments of a recording make together."""
        self._forget_segments(path)
        self._note_one(path, heard)
        self.settle()

    def settle(self, spooled: Sequence[str] = ()) -> None:
        """Put notes on the disk, about once a second, and remove the files that they replace."""
        # Many bytes at once may lock others out until they are on the disk.
        if spooled or time.monotonic() - self._committed_s > _COMMIT_EVERY_S:
            self._commit()
        for name in spooled:
            (self.spool / name).unlink()

    def _note_one(self, path: bytes, heard: Heard) -> None:
        run = self._base.execute
        run("DELETE FROM events WHERE path = ?", (path,))
        self._base.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((path, number, *astuple(row)) for number, row in enumerate(heard.rows)),
        )
        run(
            "INSERT INTO details (path, start_utc) VALUES (?, ?) "
            "ON CONFLICT (path) DO UPDATE SET start_utc = excluded.start_utc",
            (path, heard.start_utc),
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
        try:
            return None if found is None else json.loads(found[0])
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{self.path} is damaged: {error}", "a scan's journal.") from error

    def _note(self, key: str, value: object) -> None:
        self._base.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True))
        )


def _storable(text: str) -> str:
    """File names in messages need not be UTF-8, and SQLite's text must be."""
    return text.encode(errors="backslashreplace").decode()
