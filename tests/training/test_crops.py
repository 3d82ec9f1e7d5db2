"""Training windows of long clips: inside the clip, uniform, and with sound in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.data.waveforms import end_to_end
from gmme_edge.training.feed.crops import TRIES, Crops

WINDOW = 4096


def draw(seed: int, n_clips: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n_clips, TRIES))


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 4 * WINDOW), min_size=1, max_size=5),
    min_energy=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_windows_lie_in_their_clip(lengths: list[int], min_energy: float, seed: int) -> None:
    bounds = end_to_end(lengths)
    samples = np.random.default_rng(seed).standard_normal(sum(lengths)).astype(np.float32)
    crops = Crops(samples, bounds, WINDOW, min_energy)
    clips = np.arange(len(lengths))
    start = crops.starts(clips, draw(seed, len(clips)))
    assert (start >= bounds[:, 0]).all()
    spare = np.maximum(np.array(lengths) - WINDOW, 0)
    assert (start <= bounds[:, 0] + spare).all()


def test_without_a_limit_the_first_draw_is_taken() -> None:
    random = draw(0, 1000)
    crops = Crops(np.zeros(10_000, np.float32), end_to_end([10_000]), WINDOW, 0.0)
    start = crops.starts(np.zeros(1000, np.int64), random)
    assert (start == (random[:, 0] * (10_000 - WINDOW + 1)).astype(int)).all()


@pytest.mark.parametrize("at", [0, 20_000, 60_000])
def test_a_short_event_is_in_the_window(at: int) -> None:
    clip = np.zeros(16 * WINDOW, np.float32)
    clip[at : at + 2048] = np.random.default_rng(0).standard_normal(2048)
    quiet = np.zeros(3 * WINDOW, np.float32)  # a silent clip beside it
    samples, bounds = np.concatenate([quiet, clip]), end_to_end([len(quiet), len(clip)])

    def heard(min_energy: float) -> float:
        start = Crops(samples, bounds, WINDOW, min_energy).starts(
            np.ones(500, np.int64), draw(1, 500)
        )
        window = samples[start[:, None] + np.arange(WINDOW)]
        return float((np.abs(window).max(axis=1) > 0).mean())

    assert heard(0.0) < 0.2
    assert heard(0.5) > 2.5 * heard(0.0)


def test_steady_sound_is_cropped_evenly() -> None:
    samples = np.random.default_rng(2).standard_normal(100_000).astype(np.float32)
    crops = Crops(samples, end_to_end([100_000]), WINDOW, 0.5)
    start = crops.starts(np.zeros(4000, np.int64), draw(3, 4000))
    counts, _ = np.histogram(start, bins=8, range=(0, 100_000 - WINDOW))
    assert counts.min() > 400  # 500 expected


def test_a_silent_clip_has_windows() -> None:
    crops = Crops(np.zeros(9_000, np.float32), end_to_end([9_000]), WINDOW, 0.5)
    assert (crops.starts(np.zeros(3, np.int64), draw(4, 3)) <= 9_000 - WINDOW).all()
