"""The waveform cache: what it holds, when it is used, and what a failure leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gmme_edge import audio
from gmme_edge.data import store
from gmme_edge.data.dataset import Clip
from gmme_edge.data.registry import open_dataset
from gmme_edge.data.store import WaveformStore, end_to_end, load_waveforms
from gmme_edge.errors import AudioError, DatasetError
from gmme_edge.folders import default_cache
from tests.data.trees import shared, write_clip

RATE = 8000


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return [Clip(write_clip(tmp_path / f"{i}.wav", i, 100 + i), i % 3, "train") for i in range(20)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The recordings that were decoded, in no particular order."""
    seen: list[Path] = []

    def record(path: Path, sample_rate_hz: int) -> audio.Recording:
        seen.append(path)
        return audio.Recording(path, sample_rate_hz)

    monkeypatch.setattr(store, "Recording", record)
    return seen


def spoil(clip: Clip) -> None:
    clip.path.write_bytes(b"RIFF")


def test_waveforms_equal_the_files(clips: list[Clip], cache: Path) -> None:
    loaded = load_waveforms(clips, RATE, cache)
    assert len(loaded) == 20
    assert loaded.paths == tuple(clip.path for clip in clips)
    assert loaded.labels.tolist() == [i % 3 for i in range(20)]
    ends = np.cumsum(range(100, 120)).tolist()
    assert loaded.bounds.tolist() == list(map(list, pairwise([0, *ends])))
    assert loaded.samples.dtype == np.float32 and loaded.samples.shape == (sum(range(100, 120)),)
    for i, clip in enumerate(clips):
        expected, _ = soundfile.read(clip.path, dtype="float32")
        np.testing.assert_array_equal(loaded.waveform(i), expected)


def test_samples_are_read_only_and_waveforms_are_copies(clips: list[Clip], cache: Path) -> None:
    loaded = load_waveforms(clips, RATE, cache)
    assert not loaded.samples.flags.writeable
    before = loaded.samples[0]
    loaded.waveform(0)[:] = 9
    assert loaded.samples[0] == before
    for i in (-1, 20):
        with pytest.raises(IndexError):
            loaded.waveform(i)


def test_second_load_decodes_nothing(
    clips: list[Clip], cache: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_waveforms(clips, RATE, cache)
    assert sorted(decoded) == sorted(clip.path for clip in clips)
    decoded.clear()
    monkeypatch.chdir(cache.parent)
    relabelled = [Clip(Path(clip.path.name), 7, "test") for clip in clips]  # same files, by name
    again = load_waveforms(relabelled, RATE, cache)
    assert not decoded
    np.testing.assert_array_equal(first.samples, again.samples)
    assert set(again.labels) == {7}


def test_other_rate_changed_file_or_other_order_decodes_again(
    clips: list[Clip], cache: Path, decoded: list[Path]
) -> None:
    load_waveforms(clips, RATE, cache)
    for change in ("rate", "file", "order"):
        decoded.clear()
        if change == "file":
            os.utime(clips[3].path, ns=(1, 1))
        rate = 4000 if change == "rate" else RATE
        load_waveforms(clips[::-1] if change == "order" else clips, rate, cache)
        assert len(decoded) == 20, change
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "json", "schema", "lengths", "kind"])
def test_damaged_entry_is_rebuilt(
    clips: list[Clip], cache: Path, decoded: list[Path], damage: str
) -> None:
    expected = np.array(load_waveforms(clips, RATE, cache).samples)
    (folder,) = cache.iterdir()
    samples, index = folder / "samples.f32", folder / "index.json"
    values = json.loads(index.read_text())
    if damage == "cut":
        samples.write_bytes(samples.read_bytes()[:-4])
    elif damage == "longer":
        samples.write_bytes(samples.read_bytes() + b"\0" * 4)
    elif damage == "gone":
        samples.unlink()
    elif damage == "json":
        index.write_text(index.read_text()[:40])
    elif damage == "kind":
        index.write_text(json.dumps({**values, "lengths_samples": "many"}))
    elif damage == "schema":
        index.write_text(json.dumps({**values, "schema": 99}))
    else:
        index.write_text(json.dumps({**values, "lengths_samples": values["lengths_samples"][1:]}))
    decoded.clear()
    np.testing.assert_array_equal(load_waveforms(clips, RATE, cache).samples, expected)
    assert len(decoded) == 20
    decoded.clear()
    load_waveforms(clips, RATE, cache)
    assert not decoded


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_load_leaves_nothing(
    clips: list[Clip], cache: Path, error: type[BaseException]
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            raise error

    before = threading.active_count()
    with pytest.raises(error):
        load_waveforms(clips, RATE, cache, on_progress=interrupt)
    assert list(cache.iterdir()) == []
    assert threading.active_count() == before


def test_progress_counts_every_recording(clips: list[Clip], cache: Path) -> None:
    calls: list[tuple[int, int]] = []
    load_waveforms(clips, RATE, cache, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 20) for i in range(1, 21)]


def test_bad_recording_is_named_and_nothing_is_kept(clips: list[Clip], cache: Path) -> None:
    spoil(clips[5])
    with pytest.raises(AudioError, match=r"5\.wav"):
        load_waveforms(clips, RATE, cache)
    assert list(cache.iterdir()) == []


def test_missing_recording_is_named(clips: list[Clip], cache: Path) -> None:
    clips[2].path.unlink()
    with pytest.raises(AudioError, match=r"2\.wav does not exist"):
        load_waveforms(clips, RATE, cache)


def test_skip_bad_leaves_out_and_lists(clips: list[Clip], cache: Path, decoded: list[Path]) -> None:
    spoil(clips[5])
    clips[0].path.unlink()
    for decodes in (20, 0):  # built, then from the cache
        decoded.clear()
        loaded = load_waveforms(clips, RATE, cache, skip_bad=True)
        assert len(decoded) == decodes
        assert [path.name for path, _ in loaded.skipped] == ["0.wav", "5.wav"]
        assert all(str(path) in reason for path, reason in loaded.skipped)
        kept = [i for i in range(20) if i not in (0, 5)]
        assert loaded.paths == tuple(clips[i].path for i in kept)
        assert loaded.labels.tolist() == [i % 3 for i in kept]
        expected, _ = soundfile.read(clips[6].path, dtype="float32")
        np.testing.assert_array_equal(loaded.waveform(4), expected)


def test_file_names_need_not_be_utf_8(clips: list[Clip], cache: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    bad = Clip(tmp_path / "bad" / name, 0, "train")
    bad.path.parent.mkdir()
    spoil(bad)
    good = Clip(clips[0].path.rename(tmp_path / name), 0, "train")
    for _ in range(2):
        loaded = load_waveforms([good, bad], RATE, cache, skip_bad=True)
        assert loaded.paths == (good.path,)
        assert r"caf\udce9.wav" in loaded.skipped[0][1]


def test_cache_of_a_skipping_run_does_not_hide_the_error(clips: list[Clip], cache: Path) -> None:
    spoil(clips[5])
    load_waveforms(clips, RATE, cache, skip_bad=True)
    with pytest.raises(AudioError, match=r"5\.wav"):
        load_waveforms(clips, RATE, cache)
    assert len(load_waveforms(clips, RATE, cache, skip_bad=True)) == 19


def test_all_bad_is_an_error_and_is_not_kept(clips: list[Clip], cache: Path) -> None:
    for clip in clips:
        spoil(clip)
    with pytest.raises(DatasetError, match=r"None of the 20 recordings.*0\.wav"):
        load_waveforms(clips, RATE, cache, skip_bad=True)
    assert list(cache.iterdir()) == []
    with pytest.raises(DatasetError, match="no recordings"):
        load_waveforms([], RATE, cache)


def test_silence_is_kept_and_flagged(clips: list[Clip], cache: Path) -> None:
    soundfile.write(clips[4].path, np.zeros(50), RATE)
    for _ in range(2):
        loaded = load_waveforms(clips, RATE, cache)
        assert loaded.silent == (clips[4].path,)
        assert len(loaded) == 20
        assert not loaded.waveform(4).any()


def test_unwritable_cache_names_the_option(clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="--cache DIR") as caught:
        load_waveforms(clips, RATE, tmp_path / "file" / "cache")
    assert str(tmp_path / "file") in str(caught.value)


def test_full_disk_names_the_option(
    clips: list[Clip], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DatasetError, match=r"(?s)No space left.*--cache DIR"):
        load_waveforms(clips, RATE, cache)
    assert list(cache.iterdir()) == []


def test_two_loads_at_once_both_succeed(clips: list[Clip], cache: Path) -> None:
    barrier = threading.Barrier(4)
    results: list[audio.Waveform] = []

    def load() -> None:
        barrier.wait()
        results.append(np.array(load_waveforms(clips, RATE, cache).samples))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert len([path for path in cache.iterdir() if not path.name.startswith(".")]) == 1


def test_entry_published_by_another_process_first_is_no_failure(
    clips: list[Clip], cache: Path
) -> None:
    """The other process' complete entry appears in the moment before the rename."""
    other = cache.with_name("other")
    expected = np.array(load_waveforms(clips, RATE, other).samples)
    (entry,) = other.iterdir()

    rename = Path.rename

    def race(self: Path, target: Path) -> Path:
        if self.parent == cache and not target.exists():
            shutil.copytree(entry, target)
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", race)
        loaded = load_waveforms(clips, RATE, cache)
    np.testing.assert_array_equal(loaded.samples, expected)
    assert [path.name for path in cache.iterdir()] == [entry.name]


def test_default_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "gmme-edge"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache() == tmp_path / "home/.cache/gmme-edge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == tmp_path / "home/.cache/gmme-edge"


def test_real_recordings_keep_their_duration(cache: Path) -> None:
    clips = open_dataset("esc10", shared("ESC-10"), 1).select("test")[:8]
    loaded = load_waveforms(clips, 22_050, cache)
    for i, clip in enumerate(clips):
        assert len(loaded.waveform(i)) == pytest.approx(
            soundfile.info(clip.path).duration * 22_050, abs=1
        )


def test_a_part_of_a_memory_map_is_no_copy(tmp_path: Path) -> None:
    """The folds of a cross-validation take neither memory nor disk beside the whole data set."""
    file = tmp_path / "samples.f32"
    np.arange(12, dtype=np.float32).tofile(file)
    paths = tuple(Path(f"{i}.wav") for i in range(3))
    whole = WaveformStore(
        np.memmap(file, np.float32, "r"), end_to_end([4, 2, 6]), np.array([0, 1, 2]), paths,
        (), (),
    )  # fmt: skip
    part = whole.subset({paths[0], paths[2]})
    assert part.samples is whole.samples and part.labels.tolist() == [0, 2]
    assert [part.waveform(i).tolist() for i in (0, 1)] == [[0, 1, 2, 3], [6, 7, 8, 9, 10, 11]]
    assert part.lengths.tolist() == [4, 6] and list(tmp_path.iterdir()) == [file]
