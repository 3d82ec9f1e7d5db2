"""The cache folder: what is listed, what is removed first, and what is never touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.data.cache import LIMIT_VARIABLE, limit_bytes, list_entries, shrink
from gmme_edge.data.dataset import Clip
from gmme_edge.data.store import load_waveforms
from gmme_edge.errors import DatasetError, UsageError
from tests.data.trees import write_clip


def add_audio(cache: Path, name: str, size: int, used_at_s: int) -> Path:
    folder = cache / (name * 64)
    folder.mkdir(parents=True)
    (folder / "samples.f32").write_bytes(bytes(size))
    for path in (folder / "samples.f32", folder):
        os.utime(path, (used_at_s, used_at_s))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three entries of audio, the oldest last, an engine, ranges, and files of someone else."""
    place = tmp_path / "cache"
    for name, size, used_at_s in (("a", 1000, 300), ("b", 2000, 200), ("c", 3000, 100)):
        add_audio(place, name, size, used_at_s)
    engine = place / "engines" / ("d" * 32)
    engine.mkdir(parents=True)
    (engine / "plan").write_bytes(bytes(500))
    (place / "ranges").mkdir()
    (place / "ranges" / ("e" * 64 + ".json")).write_bytes(bytes(50))
    (place / "holiday").mkdir()
    (place / "holiday" / "samples.f32").write_bytes(bytes(10))
    (place / "notes.txt").write_text("mine")
    return place


def run(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(app, ["cache", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_the_list_names_every_kind_and_nothing_of_others(cache: Path) -> None:
    listed = list_entries(cache)
    assert sorted((entry.kind, entry.size_bytes) for entry in listed) == [
        ("audio", 1000), ("audio", 2000), ("audio", 3000), ("engines", 500), ("ranges", 50),
    ]  # fmt: skip
    shown = run("--cache", cache)
    assert [row["path"] for row in shown["entries"]] == [str(e.path) for e in listed]  # type: ignore[attr-defined]
    result = CliRunner().invoke(app, ["cache", "--cache", str(cache)])
    assert result.exit_code == 0 and "audio" in result.stdout and "ranges" in result.stdout


def test_a_limit_removes_what_was_unused_for_longest(cache: Path) -> None:
    removed = shrink(cache, 3550)
    assert [entry.path.name[0] for entry in removed] == ["c"]
    assert sum(entry.size_bytes for entry in list_entries(cache)) == 3550


def test_the_entry_in_use_stays_whatever_the_limit(cache: Path) -> None:
    shrink(cache, 0, keep=cache / ("c" * 64))
    assert [entry.path.name[0] for entry in list_entries(cache)] == ["c"]


def test_clear_removes_every_entry_and_nothing_else(cache: Path) -> None:
    shown = run("--cache", cache, "--clear")
    assert shown["removed"] == 5 and shown["entries"] == []
    assert (cache / "holiday" / "samples.f32").is_file() and (cache / "notes.txt").is_file()


def test_a_cache_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert run("--cache", tmp_path / "none")["entries"] == []
    told = CliRunner().invoke(app, ["cache", "--cache", str(tmp_path / "none")])
    assert told.stdout.endswith("none: 0.0 MB, for there is no such folder yet\n")


def test_a_file_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    refused = CliRunner().invoke(app, ["cache", "--cache", str(tmp_path / "a.wav"), "--clear"])
    assert refused.exit_code == 3 and "a.wav is no folder." in refused.stderr
    assert (tmp_path / "a.wav").read_bytes() == b"RIFF"


def test_clear_and_a_limit_together_are_refused(cache: Path) -> None:
    result = CliRunner().invoke(app, ["cache", "--cache", str(cache), "--clear", "--limit-mb", "1"])
    assert result.exit_code == 2 and len(list_entries(cache)) == 5


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "٣", "9" * 5000])
def test_a_wrong_limit_variable_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(UsageError, match=LIMIT_VARIABLE):
        limit_bytes()


def test_decoding_keeps_the_cache_within_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    place = tmp_path / "cache"
    for seed in range(3):
        clip = Clip(write_clip(tmp_path / f"{seed}.wav", seed), 0, "train")
        load_waveforms([clip], 8000, place)
        assert len(list_entries(place)) == 1


def test_files_that_change_places_keep_their_own_audio(tmp_path: Path) -> None:
    """Equal in size and time, so that only the inode tells them apart."""
    paths = [write_clip(tmp_path / f"{name}.wav", seed) for seed, name in enumerate("ab")]
    for path in paths:
        os.utime(path, (1, 1))
    clips = [Clip(path, 0, "train") for path in paths]
    before = load_waveforms(clips, 8000, tmp_path / "cache")
    first, second = before.waveform(0), before.waveform(1)
    paths[0].rename(tmp_path / "x")
    paths[1].rename(paths[0])
    (tmp_path / "x").rename(paths[1])
    after = load_waveforms(clips, 8000, tmp_path / "cache")
    assert (after.waveform(0) == second).all() and (after.waveform(1) == first).all()


def test_flipped_bits_in_the_cache_are_found_on_use(tmp_path: Path) -> None:
    clip = Clip(write_clip(tmp_path / "a.wav"), 0, "train")
    whole = load_waveforms([clip], 8000, tmp_path / "cache").waveform(0)
    (samples,) = (tmp_path / "cache").glob("*/samples.f32")
    flipped = bytearray(samples.read_bytes())
    flipped[100] ^= 1
    samples.write_bytes(flipped)
    assert (load_waveforms([clip], 8000, tmp_path / "cache").waveform(0) == whole).all()


def test_a_recording_changed_while_it_is_decoded_is_refused(tmp_path: Path) -> None:
    clip = Clip(write_clip(tmp_path / "a.wav"), 0, "train")

    def change(done: int, total: int) -> None:
        write_clip(clip.path, 5, 900)

    with pytest.raises(DatasetError, match="changed while"):
        load_waveforms([clip], 8000, tmp_path / "cache", on_progress=change)
    assert list_entries(tmp_path / "cache") == []
