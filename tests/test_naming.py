from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.audio.naming import recording_start

UTC = timezone.utc


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20191125_235900.WAV", datetime(2019, 11, 25, 23, 59, tzinfo=UTC)),
        ("20191125_235900T.WAV", datetime(2019, 11, 25, 23, 59, tzinfo=UTC)),
        ("24F319046_20191125_235900.WAV", datetime(2019, 11, 25, 23, 59, tzinfo=UTC)),
        ("5DDC6914.WAV", datetime(2019, 11, 25, 23, 51, 48, tzinfo=UTC)),
        ("S4A03895_20190522_000000.flac", datetime(2019, 5, 22, tzinfo=UTC)),
        ("SM3_0+1_20190522$010203.wav", datetime(2019, 5, 22, 1, 2, 3, tzinfo=UTC)),
        ("2019-05-22T01:02:03Z.flac", datetime(2019, 5, 22, 1, 2, 3, tzinfo=UTC)),
        ("2019-05-22T01-02-03+0100.wav", datetime(2019, 5, 22, 0, 2, 3, tzinfo=UTC)),
        ("20190522T010203.5-02:30.wav", datetime(2019, 5, 22, 3, 32, 3, 500_000, tzinfo=UTC)),
        ("pond 2019-05-22_01-02-03.ogg", datetime(2019, 5, 22, 1, 2, 3, tzinfo=UTC)),
        ("20191399_250000.wav", None),
        ("120190522_010203.wav", None),
        ("take 12.wav", None),
        ("DEADBEEF.wav", None),
        ("20191125.wav", None),
    ],
)
def test_names_of_recorders(name: str, expected: datetime | None) -> None:
    assert recording_start(Path("20200101_000000") / name, UTC) == expected


def test_a_local_time_without_a_zone_is_not_guessed() -> None:
    assert recording_start(Path("20191125_235900.WAV"), None) is None
    assert recording_start(Path("5DDC6914.WAV"), None) is not None
    summer = recording_start(Path("S4A00001_20190701_120000.wav"), ZoneInfo("Europe/Berlin"))
    assert summer == datetime(2019, 7, 1, 10, tzinfo=UTC)


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)), st.integers(-840, 840), st.booleans()
)
def test_iso_times_are_read_back(local: datetime, minutes: int, extended: bool) -> None:
    aware = local.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    name = aware.isoformat() if extended else aware.strftime("%Y%m%dT%H%M%S%z")
    assert recording_start(Path(name + ".wav"), None) == aware
