"""Imitations of everyday sounds: what can be told about them without a listener."""

from __future__ import annotations

import numpy as np
import pytest

from gmme_edge.data.everyday import imitate


@pytest.mark.parametrize("rate_hz", [8000, 22_050])
def test_each_is_five_seconds_at_one_level(rate_hz: int) -> None:
    sounds = imitate(rate_hz)
    assert len(sounds) == 5
    for name, sound in sounds.items():
        assert (sound.dtype, sound.shape) == (np.float32, (5 * rate_hz,)), name
        assert np.abs(sound).max() == pytest.approx(0.5)
        np.testing.assert_array_equal(sound, imitate(rate_hz)[name])
    assert not np.array_equal(sounds["rain"], imitate(rate_hz, seed=1)["rain"])


def test_a_clock_ticks_twice_a_second() -> None:
    sound = imitate(16_000)["clock tick"][800:-800]
    loud = np.abs(sound).reshape(-1, 1600).max(axis=1) > 0.05
    starts = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    assert list(np.diff(starts)) == [5] * 9


def test_a_wave_rises_and_falls() -> None:
    power = (imitate(16_000)["sea waves"] ** 2).reshape(5, -1).mean(axis=1)
    assert power.argmax() == 2 and power[2] > 5 * max(power[0], power[4])
