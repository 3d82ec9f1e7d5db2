from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.audio.dating import recording_start

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


def wav(*chunks: tuple[bytes, bytes], data_first: bool = True) -> bytes:
    form = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16))
    parts = [form, (b"data", bytes(321)), *chunks] if data_first else [form, *chunks]
    body = b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for n, d in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def icmt(text: bytes) -> tuple[bytes, bytes]:
    text += b"\0" * (1 + (len(text) + 1) % 2)
    return b"LIST", b"INFOICMT" + struct.pack("<I", len(text)) + text


AUDIOMOTH = b"Recorded at %s 10/04/2020 %sby AudioMoth 243B1F055C6BDFA8 at medium gain setting"


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (icmt(AUDIOMOTH % (b"19:17:30", b"(UTC) ")), datetime(2020, 4, 10, 19, 17, 30)),
        (icmt(AUDIOMOTH % (b"19:17:30", b"(UTC+2) ")), datetime(2020, 4, 10, 17, 17, 30)),
        (icmt(AUDIOMOTH % (b"19:17:30.25", b"(UTC-3:30) ")),
         datetime(2020, 4, 10, 22, 47, 30, 250_000)),
        (icmt(AUDIOMOTH % (b"19:17:30", b"")), None),
        (icmt(AUDIOMOTH % (b"29:17:30", b"(UTC) ")), None),
        (icmt(AUDIOMOTH % (b"09:17:31", b"(UTC+99) ")), None),
        (icmt(b"a comment"), None),
        ((b"guan", b"GUANO|Version: 1.0\nTimestamp: 2017-10-04T19:29:32-07:00\nMake: x\n"),
         datetime(2017, 10, 5, 2, 29, 32)),
        ((b"guan", b"Timestamp: 2017-10-04T19:29:32.5Z"),
         datetime(2017, 10, 4, 19, 29, 32, 500_000)),
        ((b"guan", b"Timestamp: 2017-10-04T19:29:32"), None),
        ((b"guan", b"\xff\xfe Timestamp"), None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("data_first", [True, False])
def test_recorders_write_the_start_into_the_file(
    tmp_path: Path, chunk: tuple[bytes, bytes], expected: datetime | None, data_first: bool
) -> None:
    path = tmp_path / "take 12.wav"
    path.write_bytes(wav(chunk, data_first=data_first) + (b"" if data_first else b"data\0\0\0\0"))
    wanted = None if expected is None else expected.replace(tzinfo=UTC)
    assert recording_start(path, None) == wanted
    if expected is None and b"Recorded at 19" in chunk[1]:  # a local time after all
        assert recording_start(path, UTC) == datetime(2020, 4, 10, 19, 17, 30, tzinfo=UTC)


def test_a_comment_gives_the_zone_of_the_same_time_only(tmp_path: Path) -> None:
    chunk = icmt(AUDIOMOTH % (b"19:17:30", b"(UTC+2) "))
    same, other = tmp_path / "20200410_191730.WAV", tmp_path / "20200410_201730.WAV"
    for path in (same, other):
        path.write_bytes(wav(chunk))
    truth = datetime(2020, 4, 10, 17, 17, 30, tzinfo=UTC)
    assert recording_start(same, ZoneInfo("Asia/Tokyo")) == recording_start(same, None) == truth
    assert recording_start(other, UTC) == datetime(2020, 4, 10, 20, 17, 30, tzinfo=UTC)


@given(st.binary(max_size=200))
def test_garbage_has_no_date_and_raises_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.wav"
    path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + data)
    recording_start(path, UTC)
