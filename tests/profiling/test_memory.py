from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.errors import PlatformError
from gmme_edge.profiling.memory import measure_memory, peak_rss_bytes
from tests.bundles import make_bundle

_MEGABYTE = 1_000_000


def test_the_peak_stays_after_memory_was_freed() -> None:
    before = peak_rss_bytes()
    block = np.ones(200 * _MEGABYTE, np.uint8)
    del block
    assert peak_rss_bytes() >= max(before, 200 * _MEGABYTE)


def test_a_large_parent_does_not_count() -> None:
    block = np.ones(300 * _MEGABYTE, np.uint8)
    code = "from gmme_edge.profiling.memory import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150 * _MEGABYTE < len(block)


def test_a_larger_batch_takes_more(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    small = measure_memory(bundle, "ort-cpu", "fp32", 1, 1)
    large = measure_memory(bundle, "ort-cpu", "fp32", 1, 1024)
    # 1024 clips of 8192 float32 are 33.5 MB.
    assert large.peak_bytes - small.peak_bytes > 30 * _MEGABYTE


def test_a_failure_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"failed with status 1: (?s:.*)fp16"):
        measure_memory(make_bundle(tmp_path), "ort-cpu", "fp16", None, 1)
