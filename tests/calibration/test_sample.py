from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_calibration.sample import (
    CalibrationSet,
    Windows,
    calibration_set,
    sample_clips,
    stratify,
)
from gmme_edge.data.dataset import Clip
from gmme_edge.data.store import WaveformStore, end_to_end, load_waveforms
from gmme_edge.errors import DatasetError
from tests.data.trees import write_clip


def make_clips(*sizes: int) -> list[Clip]:
    """`sizes[i]` clips of class i."""
    return [
        Clip(Path(f"{label}/{i:03}.wav"), label, "train")
        for label, size in enumerate(sizes)
        for i in range(size)
    ]


def test_classes_are_equally_many_where_they_can_be() -> None:
    chosen = sample_clips(make_clips(30, 2, 30), 11)
    assert Counter(clip.label for clip in chosen) == {0: 5, 1: 2, 2: 4}


def test_the_seed_decides_and_the_order_of_the_list_does_not() -> None:
    clips = make_clips(20, 20, 20)
    chosen = sample_clips(clips, 12, seed=4)
    assert sample_clips(clips[::-1], 12, seed=4) == chosen
    assert sample_clips(clips, 12, seed=5) != chosen
    # Not simply the first of each class.
    assert {clip.path.stem for clip in chosen} - {f"{i:03}" for i in range(4)}


def test_fewer_than_asked_are_all_taken() -> None:
    clips = make_clips(3, 1)
    assert sample_clips(clips, 100) == tuple(clips)
    assert sample_clips([], 5) == ()


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    size=st.integers(1, 60),
    seed=st.integers(0, 2**32),
    order=st.randoms(use_true_random=False),
)
def test_any_sample_is_fair(sizes: list[int], size: int, seed: int, order: object) -> None:
    clips = make_clips(*sizes)
    chosen = sample_clips(clips, size, seed)
    assert len(chosen) == len(set(chosen)) == min(size, len(clips))
    assert set(chosen) <= set(clips) and list(chosen) == sorted(chosen, key=lambda c: c.path)
    taken = [sum(clip.label == label for clip in chosen) for label in range(len(sizes))]
    for label, count in enumerate(taken):
        # A class falls behind another by more than one clip only when it is used up.
        assert count >= max(taken) - 1 or count == sizes[label]
    order.shuffle(clips)  # type: ignore[attr-defined]
    assert sample_clips(clips, size, seed) == chosen


def store_of(*waveforms: np.ndarray) -> WaveformStore:
    return WaveformStore(
        np.concatenate(waveforms),
        end_to_end([len(waveform) for waveform in waveforms]),
        np.arange(len(waveforms)),
        tuple(Path(f"{i}/nowhere.wav") for i in range(len(waveforms))),
        (),
        (),
    )


def test_a_set_records_what_it_was_made_from(tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / word / "a.wav", i) for i, word in enumerate(("no", "yes"))]
    clips = [Clip(path, i, "train") for i, path in enumerate(paths)]
    store = load_waveforms(clips, 8000, tmp_path / "cache")
    made = calibration_set(store, ("no", "yes"), 600, "words, train", seed=7)
    windows = made.waveforms[:]
    assert made.waveforms.shape == windows.shape == (2, 600) and not windows[:, 400:].any()
    np.testing.assert_array_equal(windows[1, :400], store.waveform(1))
    levels = [10 * np.log10(np.mean(window.astype(float) ** 2)) for window in windows]
    edges = np.quantile(levels, [0.25, 0.5, 0.75])
    assert made.to_dict() == {
        "source": "words, train",
        "seed": 7,
        "selection": "by class, within it by level (RMS, 4 quantiles)",
        "edges_dbfs": pytest.approx(edges.tolist(), abs=0.011),
        "n": 2,
        "sha256": hashlib.sha256(windows.astype("<f4").tobytes()).hexdigest(),
        "clips": [
            {
                "label": path.parent.name,
                "file": f"{path.parent.name}/a.wav",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "level_dbfs": pytest.approx(level, abs=0.006),
                "stratum": 3 if level == max(levels) else 0,
            }
            for path, level in zip(paths, levels, strict=True)
        ],
    }


def test_long_clips_give_their_first_window() -> None:
    ramp = np.arange(1, 26, dtype=np.float32)
    made = calibration_set(store_of(ramp, ramp[:5]), ("a", "b"), 10, "ramps", 0)
    np.testing.assert_array_equal(made.waveforms[:1][0], ramp[:10])
    np.testing.assert_array_equal(made.waveforms[1:][0], [*ramp[:5], 0, 0, 0, 0, 0])
    assert made.waveforms[2:].shape == (0, 10)
    assert [clip["sha256"] for clip in made.clips] == ["", ""]


@pytest.mark.parametrize("shape", [(0, 8), (3, 8)])
def test_an_empty_or_silent_set_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(DatasetError, match="empty or silent"):
        CalibrationSet(np.zeros(shape, np.float32), (), "nothing", 0)


def test_half_of_the_clips_may_be_silent() -> None:
    waveforms = np.zeros((4, 8), np.float32)
    waveforms[2, 3] = 0.01
    with pytest.raises(DatasetError, match="3 of 4 clips hold no sound"):
        CalibrationSet(waveforms, (), "faint", 0)
    waveforms[1, 0] = 0.01
    assert CalibrationSet(waveforms, (), "faint", 0).to_dict()["n"] == 4


def test_a_store_on_disk_and_one_in_memory_have_the_same_windows(tmp_path: Path) -> None:
    clips = [Clip(write_clip(tmp_path / f"{i}.wav", i, 300 + i), i, "train") for i in range(3)]
    store = load_waveforms(clips, 8000, tmp_path / "cache")
    on_disk = Windows(store, 301, (2, 0, 1))
    in_memory = Windows(replace(store, samples=np.array(store.samples)), 301, (2, 0, 1))
    assert len(on_disk) == 3 and on_disk[:].any(axis=1).all()
    np.testing.assert_array_equal(on_disk[:], in_memory[:])


def test_every_class_and_level_is_drawn() -> None:
    """Two classes of four loudnesses, five clips each: 16 of 40 are two of each kind."""
    waveforms, labels = [], []
    for i in range(40):
        waveforms.append(np.full(20, 0.01 * 2 ** (i % 4) * (1 + i / 1000), np.float32))
        labels.append(i // 20)
    store = replace(store_of(*waveforms), labels=np.array(labels))
    made = calibration_set(store, ("a", "b"), 20, "steps", 0, size=16)
    kinds = Counter((clip["label"], clip["stratum"]) for clip in made.clips)
    assert kinds == {(label, stratum): 2 for label in "ab" for stratum in range(4)}
    other = calibration_set(store, ("a", "b"), 20, "steps", 1, size=16)
    assert {clip["file"] for clip in other.clips} != {clip["file"] for clip in made.clips}


def test_few_clips_of_many_classes_cover_the_levels() -> None:
    labels = [i // 8 for i in range(80)]
    chosen = stratify(labels, [i % 4 for i in range(80)], 10)
    assert sorted(labels[i] for i in chosen) == list(range(10))
    assert set(Counter(i % 4 for i in chosen).values()) == {2, 3}


@given(
    clips=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=60),
    size=st.integers(1, 70),
    seed=st.integers(0, 2**32),
)
def test_any_stratified_sample_is_fair(clips: list[tuple[int, int]], size: int, seed: int) -> None:
    labels, strata = [c[0] for c in clips], [c[1] for c in clips]
    chosen = stratify(labels, strata, size, seed)
    assert chosen == stratify(labels, strata, size, seed)
    assert list(chosen) == sorted(set(chosen)) and len(chosen) == min(size, len(clips))
    classes, there = Counter(labels[i] for i in chosen), Counter(labels)
    kinds, kinds_there = Counter(clips[i] for i in chosen), Counter(clips)
    for label in there:
        assert classes[label] >= max(classes.values()) - 1 or classes[label] == there[label]
        most = max(kinds[label, stratum] for stratum in range(4))
        for stratum in range(4):
            kind = label, stratum
            assert kinds[kind] >= most - 1 or kinds[kind] == kinds_there[kind]
