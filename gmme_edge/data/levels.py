"""How loud recordings are, and the strata that quartiles of their levels divide them into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform, is_silent
from gmme_edge.data.store import WaveformStore

N_LEVELS = 4
SILENCE = "0: silence"
_SILENCE_DBFS = -120.0  # what digital silence counts as


def level_dbfs(waveform: Waveform) -> float:
    """The RMS level in hundredths of a dB of full scale; -120 for silence."""
    rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    return round(max(float(20 * np.log10(max(rms, 1e-12))), _SILENCE_DBFS), 2)


def level_edges(levels_dbfs: NDArray[np.float64]) -> tuple[float, ...]:
    """The quantiles that divide `levels_dbfs` into `N_LEVELS` strata, in hundredths of a dB."""
    inner = np.arange(1, N_LEVELS) / N_LEVELS
    return tuple(round(float(edge), 2) for edge in np.quantile(levels_dbfs, inner))


def first_window(store: WaveformStore, i: int, n_samples: int) -> Waveform:
    """The first `n_samples` of recording `i`, zeros behind a shorter one; ``(n_samples,)``."""
    start, end = store.bounds[i].tolist()
    window = np.zeros(n_samples, np.float32)
    known = store.read(start, min(end, start + n_samples))
    window[: len(known)] = known
    return window


def name_levels(store: WaveformStore, n_samples: int) -> tuple[str, ...]:
    """Per recording the name of its level's stratum; the names sort from faint to loud.

    The level is that of the first window of `n_samples`, as in calibration. Silent windows are a
    stratum of their own, and the quartiles are those of the others.
    """
    windows = (first_window(store, i, n_samples) for i in range(len(store)))
    levels = np.array([np.nan if is_silent(window) else level_dbfs(window) for window in windows])
    heard = levels[~np.isnan(levels)]
    if not len(heard):
        return (SILENCE,) * len(levels)
    edges = level_edges(heard)
    names = [
        f"1: below {edges[0]:.2f} dBFS",
        *(f"{i + 2}: from {edge:.2f} dBFS" for i, edge in enumerate(edges)),
    ]
    strata = np.searchsorted(edges, levels, side="right")
    return tuple(
        SILENCE if np.isnan(level) else names[stratum]
        for level, stratum in zip(levels, strata.tolist(), strict=True)
    )
