from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_calibration.sample import CalibrationSet, calibration_set, sample_clips
from gmme_edge.data.dataset import Clip
from gmme_edge.data.store import WaveformStore, load_waveforms
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
    lengths = [len(waveform) for waveform in waveforms]
    return WaveformStore(
        np.concatenate(waveforms),
        np.concatenate([[0], np.cumsum(lengths)]),
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
    assert made.waveforms.shape == (2, 600) and not made.waveforms[:, 400:].any()
    np.testing.assert_array_equal(made.waveforms[1, :400], store.waveform(1))
    assert made.to_dict() == {
        "source": "words, train",
        "seed": 7,
        "n": 2,
        "sha256": hashlib.sha256(made.waveforms.astype("<f4").tobytes()).hexdigest(),
        "clips": [
            {
                "label": path.parent.name,
                "file": f"{path.parent.name}/a.wav",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in paths
        ],
    }


def test_long_clips_give_their_first_window() -> None:
    ramp = np.arange(1, 26, dtype=np.float32)
    made = calibration_set(store_of(ramp, ramp[:5]), ("a", "b"), 10, "ramps", 0)
    np.testing.assert_array_equal(made.waveforms[0], ramp[:10])
    np.testing.assert_array_equal(made.waveforms[1], [*ramp[:5], 0, 0, 0, 0, 0])
    assert [clip["sha256"] for clip in made.clips] == ["", ""]


@pytest.mark.parametrize("shape", [(0, 8), (3, 8)])
def test_an_empty_or_silent_set_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(DatasetError, match="empty or silent"):
        CalibrationSet(np.zeros(shape, np.float32), (), "nothing", 0)


def test_one_sound_among_silence_is_enough() -> None:
    waveforms = np.zeros((3, 8), np.float32)
    waveforms[2, 3] = 0.01
    assert CalibrationSet(waveforms, (), "faint", 0).to_dict()["n"] == 3
