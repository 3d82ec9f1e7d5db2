"""Recordings that follow each other are heard as the one long recording that they were cut from."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmme_edge.errors import UsageError
from gmme_edge.workflows import scanning
from gmme_edge.workflows.archive import working
from gmme_edge.workflows.archive.heard import Job
from gmme_edge.workflows.archive.hearing import hear_joined_with, hear_with
from gmme_edge.workflows.archive.joining import find_pieces
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings
from tests.runtime.streaming.fakes import LevelClassifier
from tests.workflows.test_scanning import MODEL, noise

RATE_HZ = 16_000
RULES = EventSettings(hop_ms=500, on=0.2, gate=False)
START = datetime(2024, 1, 1, 23, 59, 58, tzinfo=timezone.utc)


def write(folder: Path, at_s: float, sound: np.ndarray) -> Path:
    name = (START + timedelta(seconds=at_s)).strftime("%Y%m%d_%H%M%S.wav")
    folder.mkdir(exist_ok=True, parents=True)
    soundfile.write(folder / name, sound, RATE_HZ)
    return folder / name


def run(archive: Path, output: Path, **options: Any) -> list[dict[str, str]]:  # noqa: ANN401
    with ThreadPoolExecutor(2) as pool:
        chosen = ScanSettings(output=output, timezone="UTC", **options)
        scanning.scan(MODEL, [archive], chosen, RULES, executor=pool)
    with (output / "events.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=4), st.integers(0, 9), st.booleans())
def test_joined_recordings_are_heard_as_the_whole(
    tmp_path: Path, lengths: list[int], seed: int, gate: bool
) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, sum(lengths)).astype(np.float32)
    sound *= np.repeat([0.1, 0.9], len(sound) // 2 + 1)[: len(sound)].astype(np.float32)
    soundfile.write(tmp_path / "whole.wav", sound, 1000, subtype="FLOAT")
    ends = np.cumsum(lengths).tolist()
    parts = [tmp_path / f"{k}.wav" for k in range(len(lengths))]
    for path, part in zip(parts, np.split(sound, ends[:-1]), strict=True):
        soundfile.write(path, part, 1000, subtype="FLOAT")
    job = Job("", "", "", "", EventSettings(on=0.4, off=0.3, gate=gate))
    whole = hear_with(LevelClassifier(), job, tmp_path / "whole.wav").rows
    heard = hear_joined_with(LevelClassifier(), job, parts)
    assert [one.duration_s for one in heard] == [n / 1000 for n in lengths]
    joined = [
        (round(row.start_s + first / 1000, 6), round(row.end_s + first / 1000, 6), row.label)
        for one, first in zip(heard, [0, *ends], strict=False)
        for row in one.rows
    ]
    assert sorted(joined) == sorted((row.start_s, row.end_s, row.label) for row in whole)
    for one, length in zip(heard, lengths, strict=True):
        assert all(0 <= row.start_s < length / 1000 for row in one.rows)


def test_a_damaged_recording_ends_the_piece_before_it(tmp_path: Path) -> None:
    sound = np.full(900, 0.8, np.float32)
    paths = [tmp_path / name for name in ("a.wav", "bad.wav", "c.wav")]
    for path in paths:
        soundfile.write(path, sound, 1000, subtype="FLOAT")
    paths[1].write_text("not audio")
    job = Job("", "", "", "", EventSettings(on=0.4, gate=False))
    first, bad, last = hear_joined_with(LevelClassifier(), job, paths)
    assert first == hear_with(LevelClassifier(), job, paths[0]) and first.rows
    assert "cannot be decoded" in bad.error and last == first


def test_what_follows_without_a_gap_is_joined(tmp_path: Path) -> None:
    folder, other = tmp_path / "a", tmp_path / "b"
    quiet = np.zeros(4 * RATE_HZ)
    joined = [write(folder, at, quiet) for at in (0, 4, 8)]
    later = write(folder, 14, quiet)
    longer = write(folder, 18, np.zeros(int(4.7 * RATE_HZ)))  # names count whole seconds
    last = write(folder, 22, quiet)
    elsewhere = write(other, 26, quiet)
    stereo = write(other, 30, np.zeros((4 * RATE_HZ, 2)))
    undated = other / "z.wav"
    soundfile.write(undated, quiet, RATE_HZ)
    paths = [str(p).encode() for p in (*joined, later, longer, last, elsewhere, stereo, undated)]
    found = [[Path(p.decode()) for p in piece] for piece in find_pieces(paths, timezone.utc)]
    assert found == [joined, [later, longer, last], [elsewhere], [stereo], [undated]]
    assert len(list(find_pieces(paths, None))) == len(paths)  # local times of no known zone


def test_an_archive_is_joined_on_request(tmp_path: Path) -> None:
    sound = noise(8, 4, RATE_HZ)
    whole = tmp_path / "whole"
    write(whole, 0, sound)
    for at in range(0, 8, 2):
        write(tmp_path / "cut", at, sound[at * RATE_HZ : (at + 2) * RATE_HZ])
    wanted = run(whole, tmp_path / "one")
    found = run(tmp_path / "cut", tmp_path / "joined", join=True, embeddings="npy")
    facts = ("start_utc", "end_utc", "label", "confidence", "mean")
    assert [[row[k] for k in facts] for row in found] == [[row[k] for k in facts] for row in wanted]
    assert len({row["path"] for row in found}) > 1
    whole_s = {row["start_utc"] for row in run(tmp_path / "cut", tmp_path / "alone")}
    assert whole_s != {row["start_utc"] for row in found}
    run(whole, tmp_path / "one-e", embeddings="npy")
    vectors = [np.load(tmp_path / name / "embeddings.npy") for name in ("one-e", "joined")]
    np.testing.assert_allclose(*vectors, atol=1e-3)
    with pytest.raises(UsageError, match="join"):
        run(tmp_path / "cut", tmp_path / "joined", embeddings="npy")


def test_a_piece_that_grew_is_heard_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    both = working.hear, working.hear_joined
    monkeypatch.setattr(working, "hear", lambda *a: (heard.append(1), both[0](*a))[1])
    monkeypatch.setattr(
        working,
        "hear_joined",
        lambda job, paths: (heard.append(len(paths)), both[1](job, paths))[1],
    )
    sound = noise(6, 4, RATE_HZ)
    cut = [sound[at * RATE_HZ : (at + 2) * RATE_HZ] for at in range(0, 6, 2)]
    write(tmp_path / "in", 0, cut[0])
    write(tmp_path / "in", 2, cut[1])
    write(tmp_path / "in", 60, cut[1])
    run(tmp_path / "in", tmp_path / "out", join=True)
    run(tmp_path / "in", tmp_path / "out", join=True)
    assert sorted(heard) == [1, 2]
    write(tmp_path / "in", 4, cut[2])
    found = run(tmp_path / "in", tmp_path / "out", join=True)
    assert heard[2:] == [3]
    assert found == run(tmp_path / "in", tmp_path / "anew", join=True)
