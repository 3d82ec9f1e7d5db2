"""A long recording that many workers hear gives the rows that one worker finds."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_double
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gmme_edge.audio import Recording, resampling
from gmme_edge.cli.app import app
from gmme_edge.errors import InputError
from gmme_edge.workflows import scanning
from gmme_edge.workflows.archive import dividing, working
from gmme_edge.workflows.archive.dividing import conclude, divide, hear_segment_with
from gmme_edge.workflows.archive.heard import Division, Job, Segment
from gmme_edge.workflows.archive.hearing import hear_with
from gmme_edge.workflows.archive.journal import NAME, Journal
from gmme_edge.workflows.archive.telling import share
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings, WorkerSettings
from tests.runtime.streaming.fakes import LevelClassifier
from tests.workflows import fatal
from tests.workflows.test_scanning import MODEL, noise

RULES = EventSettings(hop_ms=500, on=0.2, merge_gap_s=0.7, smoothing_s=0.5, gate=False)
REPLACE = "UPDATE divisions SET division = replace(CAST(division AS TEXT), '{}', '{}')"
TABLES = ("events.csv", "embeddings.csv", "embeddings.npy")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Segments of a second or two, so that a recording of some seconds has many."""
    monkeypatch.setattr(resampling, "STRETCH_S", 1)
    monkeypatch.setattr(dividing, "_LEAST_WINDOWS", 3)
    yield


def run(recording: Path, output: Path, **options: Any) -> scanning.Scan:  # noqa: ANN401
    with ThreadPoolExecutor(3) as pool:
        chosen = ScanSettings(output=output, embeddings="npy", **options)
        return scanning.scan(MODEL, [recording], chosen, RULES, executor=pool)


@pytest.fixture
def recording(tmp_path: Path, short: None) -> Path:
    path = tmp_path / "20240101_000000.wav"
    soundfile.write(path, noise(15.3, 4, 11_025, 2), 11_025)
    return path


@pytest.fixture
def whole(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a scan finds that divides nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(dividing, "_LEAST_SEGMENTS", 10**9)
        run(recording, tmp_path / "whole", timezone="UTC")
    return {name: (tmp_path / "whole" / name).read_bytes() for name in TABLES}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(100, 9000), st.sampled_from([1000, 800, 1500]), st.integers(1, 2),
    st.integers(0, 99), st.booleans(), st.sampled_from([None, 37.0, 250.0]),
    st.sampled_from(["wav", "flac", "aiff"]),
)  # fmt: skip
def test_segments_in_any_order_make_the_rows_of_the_whole(
    tmp_path: Path, short: None, n: int, rate_hz: int, channels: int, seed: int, gate: bool,
    hop_ms: float | None, ending: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    sound = rng.uniform(-1, 1, (n, channels)).astype(np.float32)
    sound *= np.repeat(rng.choice([0.001, 0.1, 0.9], n // 500 + 1), 500)[:n, None]
    if channels == 2 and seed % 3 == 0:
        sound[:, 1] = -sound[:, 0]  # antiphase: one channel is heard
    path = tmp_path / f"20240101_000000.{ending}"
    soundfile.write(path, sound, rate_hz, subtype="PCM_16")
    rules = EventSettings(
        hop_ms=hop_ms, on=0.4, off=0.3, gate=gate, smoothing_s=0.2, merge_gap_s=0.3,
        max_duration_s=2.5, refractory_s=0.1,
    )  # fmt: skip
    job = Job("", "", "", "", rules, timezone="UTC")
    classifier = LevelClassifier()
    wanted = hear_with(classifier, job, path)
    one_worker = classifier.calls
    division = divide(classifier, job, path, Recording(path, 1000))
    if division is None:
        assert wanted.duration_s <= 4 * max(1, 3 * (hop_ms or 100) / 1000) + 1
        return
    classifier.calls = 0
    numbers = list(range(division.n_segments))
    random.Random(seed).shuffle(numbers)
    heard_s = c_double()
    share(heard_s)
    found = {
        number: hear_segment_with(classifier, job, path, division, number).probabilities
        for number in numbers
    }
    assert heard_s.value == pytest.approx(division.n_samples / 1000, abs=1.1)  # a window
    ordered = [found[number] for number in sorted(found)]
    assert conclude(division, ordered, classifier.labels, rules) == wanted
    assert classifier.calls == one_worker


def test_a_divided_scan_writes_the_same_bytes(
    recording: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = count_segments(monkeypatch)
    found = run(recording, tmp_path / "out", timezone="UTC")
    assert len(heard) > 5 and found.counts.heard == 1 and whole["events.csv"].count(b"\n") > 3
    assert {name: (tmp_path / "out" / name).read_bytes() for name in TABLES} == whole


def test_a_divided_scan_goes_on_where_it_was_stopped(
    recording: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        before = stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(recording, tmp_path / "out", timezone="UTC")
    told = scanning.status(tmp_path / "out").counts
    assert (told.heard, told.left, told.events, told.segments_heard) == (0, 1, 0, 3)
    shown = CliRunner().invoke(app, ["scan", "--status", "-o", str(tmp_path / "out")]).stdout
    assert f"3 of {3 + told.segments_left} segments" in shown and told.segments_left > 3
    after = count_segments(monkeypatch)
    run(recording, tmp_path / "out", timezone="UTC")
    assert len(before) == 3 and sorted(before + after) == list(range(len(before + after)))
    assert {name: (tmp_path / "out" / name).read_bytes() for name in TABLES} == whole


def test_a_recording_that_changed_is_divided_anew(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(recording, tmp_path / "out")
    soundfile.write(recording, noise(13, 3), 8000)
    run(recording, tmp_path / "out")
    run(recording, tmp_path / "anew")
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE divisions SET division = x'ff00'",
        "UPDATE divisions SET division = '{}'",
        "UPDATE divisions SET division = 7",
        REPLACE.format('"hop_us":', '"hop_us":-'),
        REPLACE.format('"segment_samples":', '"segment_samples":0,"x":'),
        REPLACE.format('"asked":"', '"asked":"AAAA'),
        "UPDATE divisions SET n_segments = 4611686018427387904",
        "UPDATE segments SET probabilities = substr(probabilities, 2) WHERE number = 1",
        "UPDATE segments SET probabilities = 'text' WHERE number = 1",
    ],
)
def test_a_journal_with_a_damaged_division_is_told(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(recording, tmp_path / "out")
    with contextlib.closing(sqlite3.connect(tmp_path / "out" / NAME)) as base, base:
        assert base.execute(damage).rowcount == 1
    with pytest.raises(InputError, match="journal is damaged"):
        run(recording, tmp_path / "out")


def test_a_segment_that_cannot_be_heard_costs_its_recording_only(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(recording.with_name("z.wav"), noise(3, 2), 8000)
    hear_segment = working.hear_segment

    def cut(job: Job, path: bytes, division: Division, number: int) -> Segment:
        if number == 3:
            soundfile.write(os.fsdecode(path), noise(1, 4), 8000)
        return hear_segment(job, path, division, number)

    monkeypatch.setattr(working, "hear_segment", cut)
    with ThreadPoolExecutor(1) as pool:
        chosen = ScanSettings(output=tmp_path / "out")
        found = scanning.scan(MODEL, [recording.parent], chosen, RULES, executor=pool)
    assert (found.counts.heard, found.counts.failed, found.counts.left) == (1, 1, 0)
    assert "has changed" in (tmp_path / "out/skipped.csv").read_text()


def stop_after(patch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Ctrl-C when so many segments are noted; their numbers."""
    noted: list[int] = []
    note = Journal.note_segment

    def stop(journal: Journal, path: bytes, number: int, found: Segment) -> None:
        if len(noted) == count:
            raise KeyboardInterrupt
        noted.append(number)
        note(journal, path, number, found)

    patch.setattr(Journal, "note_segment", stop)
    return noted


def count_segments(patch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the segments that are heard from now on."""
    heard: list[int] = []
    hear_segment = working.hear_segment

    def count(job: Job, path: bytes, division: Division, number: int) -> Segment:
        heard.append(number)
        return hear_segment(job, path, division, number)

    patch.setattr(working, "hear_segment", count)
    return heard


@pytest.mark.slow
def test_a_killed_worker_costs_one_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes, and segments of ten minutes: their constants are those of the package.

    A sound every half minute; the gate spares the network the silence in between.
    """
    long = tmp_path / "long.wav"
    with soundfile.SoundFile(long, "w", 8000, 1, "PCM_16") as file:
        for seed in range(82):
            file.write(noise(2, seed)[:, 0])
            file.write(np.zeros(28 * 8000))
    monkeypatch.setattr(working, "hear_segment", fatal.hear_segment_or_die)
    rules = EventSettings(hop_ms=585, on=0.2)
    found = scanning.scan(
        MODEL, [long], ScanSettings(output=tmp_path / "out"), rules, WorkerSettings(workers=2)
    )
    assert found.counts.heard == 1
    heard = sorted(path.suffix for path in tmp_path.glob("long.wav.*"))
    assert heard == [".0", ".1", ".2", ".2-died", ".3", ".4"]
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(dividing, "_LEAST_SEGMENTS", 10**9)
        whole = ScanSettings(output=tmp_path / "whole")
        scanning.scan(MODEL, [long], whole, rules, executor=pool)
    wanted = (tmp_path / "whole/events.csv").read_bytes()
    assert (tmp_path / "out/events.csv").read_bytes() == wanted and wanted.count(b"\n") > 10
