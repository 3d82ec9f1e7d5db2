"""When a recording began, as field recorders write it into the name of its file.

20191125_235900.WAV             AudioMoth; triggered: 20191125_235900T.WAV
5DDC6914.WAV                    early AudioMoth: seconds since 1970 in hexadecimal, UTC
S4A00001_20190101_120000.wav    Song Meter, also with $ between date and time
2019-01-01T12:00:00+01:00.flac  ISO 8601, basic or extended, also with - or _ in place of :
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path

_DATE = r"(?P<year>(?:19|20)\d\d)(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
_TIME = r"(?P<hour>\d\d)(?P<colon>[:\-_]?)(?P<minute>\d\d)(?P=colon)(?P<second>\d\d)"
_FRACTION = r"(?:[.,](?P<fraction>\d{1,6})\d*)?"
_ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
_DATED = re.compile(rf"(?<!\d){_DATE}[_T$ ]{_TIME}{_FRACTION}{_ZONE}(?!\d)")
_HEXADECIMAL = re.compile(r"[0-9A-F]{8}")
_AUDIOMOTH_YEARS = range(2015, 2040)  # 20191125 and CAFEBABE are other things


def named_start(path: Path) -> datetime | None:
    """With a time zone or, as most recorders do, local without one; None: the name holds none."""
    return find_date(path.name) or _epoch(path.stem)


def find_date(text: str) -> datetime | None:
    """The first date and time in a text, with a time zone where it names one."""
    found = _DATED.search(text)
    if found is None:
        return None
    names = ("year", "month", "day", "hour", "minute", "second")
    year, month, day, hour, minute, second = (int(found[name]) for name in names)
    fraction_us = int((found["fraction"] or "0").ljust(6, "0"))
    try:
        zone = _offset(found["zone"])
        return datetime(year, month, day, hour, minute, second, fraction_us, zone)
    except ValueError:  # 20191399_250000 is no date
        return None


def _epoch(stem: str) -> datetime | None:
    if not _HEXADECIMAL.fullmatch(stem):
        return None
    found = datetime.fromtimestamp(int(stem, 16), timezone.utc)
    return found if found.year in _AUDIOMOTH_YEARS else None


def _offset(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text == "Z":
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))
