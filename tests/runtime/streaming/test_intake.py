"""A chunk's memory: bounded whatever its length, and whatever its rate becomes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gmme_edge.runtime.streaming.chunks import Intake

_MOST_SAMPLES = 2 * 65_536  # a block, and what the filter had held back


@pytest.mark.parametrize("from_hz", [100, 8_000, 48_000])
def test_what_a_block_becomes_is_bounded(from_hz: int) -> None:
    intake = Intake(16_000)
    chunk = np.zeros(20_000, np.int16)
    sizes = [len(block) for block in intake.take(chunk, from_hz)]
    sizes.append(len(intake.drain()))
    assert max(sizes) <= _MOST_SAMPLES
    assert sum(sizes) == pytest.approx(20_000 * 16_000 / from_hz, rel=0.01)


def test_memory_does_not_follow_the_length_of_a_chunk() -> None:
    intake = Intake(16_000)
    chunk = np.zeros((4_000_000, 2), np.int16)
    for _ in intake.take(chunk[:70_000], 48_000):  # the resampler is there now
        pass
    tracemalloc.start()
    try:
        for _ in intake.take(chunk, 48_000):
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < chunk.nbytes / 2
