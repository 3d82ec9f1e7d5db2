"""Small data sets on disk, written by the tests; the real ones are in ../shared/data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

SHARED = Path(__file__).parents[2] / "../shared/data"


def shared(name: str) -> Path:
    """A real data set beside the project; the test is skipped where it is not there."""
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"{path} is not on this machine")
    return path


def write_clip(path: Path, seed: int = 0, n_samples: int = 400, rate_hz: int = 8000) -> Path:
    """A short noise recording whose content follows from `seed`; the suffix names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples)
    soundfile.write(path, noise, rate_hz)
    return path


def write_table(path: Path, header: str, rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
