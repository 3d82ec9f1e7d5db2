"""What a scan's journal holds of long recordings while their segments are in work.

divisions   a recording's `Division`, as JSON, with its size and time of change at that time
segments    the probabilities of a segment's windows
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from gmme_edge.errors import UsageError
from gmme_edge.workflows.archive.embeddings import blocks_of
from gmme_edge.workflows.archive.findings import Findings, damaged
from gmme_edge.workflows.archive.heard import Division, Segment

TABLES = (
    "CREATE TABLE IF NOT EXISTS divisions (path BLOB PRIMARY KEY, size_bytes INTEGER NOT NULL, "
    "changed_ns INTEGER NOT NULL, n_segments INTEGER NOT NULL, division BLOB NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS segments (path BLOB NOT NULL, number INTEGER NOT NULL, "
    "probabilities BLOB NOT NULL, PRIMARY KEY (path, number))",
)
_BLOCKS = 1 << 20  # more than a segment has blocks of embeddings
_FACTS = "SELECT size_bytes, changed_ns FROM {} WHERE path = ?"


class Divisions(Findings):
    """The part of a `Journal` that knows of segments and embeddings."""

    _spool: Path
    _width: int

    def division(self, path: bytes) -> Division | None:
        """How the recording was divided; None where it was not, or has changed since."""
        before, now = (
            self._base.execute(_FACTS.format(table), (path,)).fetchone()
            for table in ("divisions", "recordings")
        )
        if before is None or before != now:
            return None
        found, n_segments = self._base.execute(
            "SELECT division, n_segments FROM divisions WHERE path = ?", (path,)
        ).fetchone()
        try:
            division = msgspec.json.decode(found, type=Division)
            is_whole = division.n_segments == n_segments and division.is_whole
        except (ValueError, TypeError, ArithmeticError, UsageError) as error:
            raise damaged(found) from error
        if not is_whole:
            raise damaged(found)
        return division

    def missing(self, path: bytes, division: Division) -> list[int]:
        """The segments that are still to be heard."""
        found = self._base.execute("SELECT number FROM segments WHERE path = ?", (path,))
        done = {number for (number,) in found}
        return [number for number in range(division.n_segments) if number not in done]

    def segments(self, path: bytes) -> Iterator[bytes]:
        """The probabilities of all of them, in order."""
        for (found,) in self._base.execute(
            "SELECT probabilities FROM segments WHERE path = ? ORDER BY number", (path,)
        ):
            yield found

    def _note_division(self, path: bytes, division: Division) -> None:
        self._forget_segments(path)
        self._forget_embeddings(path)
        facts = self._base.execute(_FACTS.format("recordings"), (path,)).fetchone()
        self._base.execute(
            "INSERT INTO divisions VALUES (?, ?, ?, ?, ?)",
            (path, *facts, division.n_segments, msgspec.json.encode(division)),
        )

    def _note_segment(self, path: bytes, number: int, found: Segment) -> None:
        self._base.execute(
            "INSERT INTO segments VALUES (?, ?, ?)", (path, number, found.probabilities)
        )
        self._note_embeddings(path, found.spooled, number * _BLOCKS)

    def _note_embeddings(self, path: bytes, spooled: str, first: int) -> None:
        """Take what a worker put into the file `spooled`, as blocks from number `first` on."""
        if spooled:
            blocks = blocks_of(self._spool / spooled, self._width)
            self._base.executemany(
                "INSERT INTO embeddings VALUES (?, ?, ?)",
                ((path, number, block) for number, block in enumerate(blocks, first)),
            )

    def _forget_segments(self, path: bytes) -> None:
        for table in ("divisions", "segments"):
            self._base.execute(f"DELETE FROM {table} WHERE path = ?", (path,))

    def _forget_embeddings(self, path: bytes) -> None:
        self._base.execute("DELETE FROM embeddings WHERE path = ?", (path,))
