"""Levels of recordings and their strata, against sines and numpy's quantiles."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.data.levels import SILENCE, level_dbfs, name_levels
from gmme_edge.data.store import WaveformStore, end_to_end


def store_of(*waveforms: np.ndarray) -> WaveformStore:
    bounds = end_to_end([len(waveform) for waveform in waveforms])
    paths = tuple(Path(f"{i}.wav") for i in range(len(waveforms)))
    samples = np.concatenate(waveforms).astype(np.float32)
    return WaveformStore(samples, bounds, np.zeros(len(paths), np.int64), paths, (), ())


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 1e-3])
def test_levels_are_those_of_sines(amplitude: float) -> None:
    sine = amplitude * np.sin(np.arange(8000) * 2 * np.pi / 80)
    expected = 20 * np.log10(amplitude) - 3.01
    assert level_dbfs(sine.astype(np.float32)) == pytest.approx(expected, abs=0.011)


def test_silence_has_a_level() -> None:
    assert level_dbfs(np.zeros(9, np.float32)) == -120


def test_clips_are_divided_at_the_quartiles_of_their_first_window() -> None:
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(size=n) * 10 ** rng.uniform(-3, 0) for n in rng.integers(5, 60, 42)]
    names = name_levels(store_of(*waveforms), 20)
    windows = [np.pad(w[:20], (0, max(0, 20 - len(w)))) for w in waveforms]
    levels = np.array([10 * np.log10(np.mean(w.astype(np.float32) ** 2)) for w in windows])
    edges = np.quantile(levels, [0.25, 0.5, 0.75])
    assert [int(name[0]) - 1 for name in names] == np.digitize(levels, edges.round(2)).tolist()
    assert sorted(set(names)) == [
        f"1: below {edges[0]:.2f} dBFS", *(f"{i + 2}: from {edges[i]:.2f} dBFS" for i in range(3))
    ]  # fmt: skip


def test_silence_is_a_stratum_of_its_own_and_moves_no_quartile() -> None:
    loud = [np.full(8, 0.01 * 2**i) for i in range(8)]
    silent = [np.zeros(8), np.full(8, 1e-6), np.array([0.0] * 8 + [1.0])]
    assert name_levels(store_of(*loud, *silent), 8) == (
        *name_levels(store_of(*loud), 8), SILENCE, SILENCE, SILENCE,
    )  # fmt: skip
    assert set(Counter(name_levels(store_of(*loud), 8)).values()) == {2}
    assert name_levels(store_of(*silent), 8) == (SILENCE,) * 3
