"""Which recordings follow each other without a gap, by their starts and lengths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from gmme_edge.audio.dating import recording_start
from gmme_edge.errors import require

_TOLERANCE_S = 1.0  # recorders count whole seconds
_LONGEST_S = 24 * 3600.0  # of a piece: what a kill costs, and what one worker hears


@dataclass(frozen=True)
class _Facts:
    start: datetime
    seconds: float
    form: tuple[int, int]  # rate and channels

    def is_followed_by(self, other: _Facts) -> bool:
        gap_s = (other.start - self.start).total_seconds() - self.seconds
        return self.form == other.form and abs(gap_s) < _TOLERANCE_S


def find_pieces(paths: Iterable[bytes], zone: tzinfo | None) -> Iterator[tuple[bytes, ...]]:
    """The paths, in their order, in groups of those that belong together: mostly of one.

    Recordings are joined where they lie in one folder, are neighbours by name, have one rate and
    number of channels, and each begins when the one before ends, to a second. Their sum is 24 h
    at most.
    """
    piece: list[bytes] = []
    last: _Facts | None = None
    sum_s = 0.0
    for path in paths:
        facts = _look(Path(os.fsdecode(path)), zone)
        joins = (
            facts is not None
            and last is not None
            and os.path.dirname(path) == os.path.dirname(piece[-1])  # noqa: PTH120 - bytes
            and last.is_followed_by(facts)
            and sum_s + facts.seconds <= _LONGEST_S
        )
        if piece and not joins:
            yield tuple(piece)
            piece, sum_s = [], 0.0
        piece.append(path)
        sum_s += 0.0 if facts is None else facts.seconds
        last = facts
    if piece:
        yield tuple(piece)


def _look(path: Path, zone: tzinfo | None) -> _Facts | None:
    """What the name and the header say; None where that does not suffice."""
    start = recording_start(path, zone)
    if start is None:
        return None
    try:
        found = require("soundfile", "read recordings' lengths").info(path)
    except (OSError, RuntimeError):
        return None
    seconds = found.frames / found.samplerate
    return _Facts(start, seconds, (found.samplerate, found.channels))
