"""When a recording began: by its name, else by what its recorder wrote into it.

ICMT, COMMENT   Recorded at 19:17:30 10/04/2020 (UTC+2) by AudioMoth …   in any format
guan            Timestamp: 2017-10-04T19:29:32-07:00                     GUANO, in WAV
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import BinaryIO

from gmme_edge.audio.naming import find_date, named_start
from gmme_edge.audio.truncation import MOST_CHUNKS
from gmme_edge.errors import require

_AUDIOMOTH = re.compile(
    r"Recorded at (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? (\d\d)/(\d\d)/(\d{4})"
    r"(?: \(UTC(?:([+-])(\d{1,2})(?::(\d\d))?)?(\))?)?"
)
_TIMESTAMP = re.compile(r"^Timestamp:(.*)$", re.MULTILINE)
_LONGEST = 1 << 16  # bytes of a chunk of text
_IN_DS64 = 0xFFFFFFFF


def recording_start(path: Path, zone: tzinfo | None) -> datetime | None:
    """In UTC; None where neither tells it, or only a local time whose `zone` is not known.

    The name comes first, since whoever cuts or renames a file keeps its comment. Where it holds
    no zone, and the recorder's comment the same time with one, that zone counts.
    """
    named, stated = named_start(path), _stated_start(path)
    if named is None:
        return _in_utc(stated, zone)
    if named.tzinfo is None and stated is not None and stated.replace(tzinfo=None) == named:
        return _in_utc(stated, zone)
    return _in_utc(named, zone) or (_in_utc(stated, None) if stated is not None else None)


def _in_utc(found: datetime | None, zone: tzinfo | None) -> datetime | None:
    """Where clocks are put back, the first of the two times that a local one may mean."""
    if found is None or (found.tzinfo or zone) is None:
        return None
    try:
        return found.replace(tzinfo=found.tzinfo or zone).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _stated_start(path: Path) -> datetime | None:
    """What the recorder wrote into the file: with a time zone, or local."""
    try:
        if path.is_file() and (found := _guano(path)) is not None:
            return found
        comment = _comment(path)
    except (OSError, RuntimeError, TypeError, ValueError, OverflowError):
        # The decoder tells what is wrong with it.
        return None
    return _audiomoth(comment)


def _comment(path: Path) -> str:
    if not path.is_file():
        return ""
    soundfile = require("soundfile", "read a recording's comment")
    with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be Unicode
        return str(file.comment or "")


def _audiomoth(comment: str) -> datetime | None:
    found = _AUDIOMOTH.search(comment)
    if found is None:
        return None
    hour, minute, second, fraction, day, month, year, sign, hours, minutes, closed = found.groups()
    date, time = (int(year), int(month), int(day)), (int(hour), int(minute), int(second))
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset) if closed else None
        return datetime(*date, *time, int((fraction or "0").ljust(6, "0")), zone)
    except ValueError:
        return None


def _guano(path: Path) -> datetime | None:
    with path.open("rb") as file:
        for name, size in _chunks(file):
            if name == b"guan" and size <= _LONGEST:
                line = _TIMESTAMP.search(file.read(size).decode(errors="replace"))
                return None if line is None else find_date(line[1].strip())
    return None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Names and sizes of a WAV file's chunks; the file stands at the start of each one's data."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return
    at, data_size = 12, 0
    for _ in range(MOST_CHUNKS):
        if len(header := file.read(8)) < 8:
            return
        name, size = header[:4], int.from_bytes(header[4:], "little")
        if name == b"ds64":  # of files over 4 GB
            data_size = int.from_bytes(file.read(16)[8:], "little")
            file.seek(at + 8)
        elif name == b"data" and size == _IN_DS64:
            size = data_size
        yield name, size
        at += 8 + size + size % 2
        file.seek(at)
