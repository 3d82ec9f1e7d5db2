"""The benchmark of full data sets: its trees are what the loaders want, and it runs to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from gmme_edge.data.registry import open_dataset

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"

sys.path.insert(0, str(BENCHMARKS))
try:
    import made_trees
finally:
    sys.path.remove(str(BENCHMARKS))


def test_made_slices_are_a_published_tree(tmp_path: Path) -> None:
    made_trees.make_urbansound8k(tmp_path, 200)
    found = open_dataset("urbansound8k", tmp_path, 3)
    assert found.counts() == {"train": 180, "test": 20} and len(found.labels) == 10
    assert len({clip.group for clip in found.clips}) == 100
    infos = [soundfile.info(clip.path) for clip in found.clips]
    assert max(info.duration for info in infos) == pytest.approx(4.0, abs=0.01)
    assert Counter(info.channels for info in infos)[2] > 160
    assert {44_100, 48_000, 96_000} <= {info.samplerate for info in infos}
    assert {"PCM_16", "PCM_24"} <= {info.subtype for info in infos}


def test_the_published_counts_add_up() -> None:
    counts = (made_trees.RATES_HZ, made_trees.CHANNELS, made_trees.SUBTYPES)
    assert [sum(each.values()) for each in counts] == [made_trees.N_SLICES] * 3
    assert len(set(made_trees.WORDS)) == 35


def test_made_words_are_a_published_tree(tmp_path: Path) -> None:
    made_trees.make_speech_commands(tmp_path, 700)
    found = open_dataset("speech-commands", tmp_path)
    assert found.labels == made_trees.WORDS
    assert found.counts() == {"test": 72, "validation": 66, "train": 562}
    durations = [soundfile.info(clip.path).duration for clip in found.clips]
    assert max(durations) == 1.0 and min(durations) < 1.0


@pytest.mark.slow
def test_the_benchmark_runs_to_its_last_line(tmp_path: Path) -> None:
    small = ["--clips", "40", "--steps", "2", "--scored", "3", "--batch", "2"]
    command = [sys.executable, str(BENCHMARKS / "full_size.py"), str(tmp_path / "work"), *small]
    result = subprocess.run(
        [*command, "--models", "eat-s-gmme-lite-k4c2", "-o", str(tmp_path / "out.json")],
        capture_output=True, text=True, timeout=600, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    starts = json.loads((tmp_path / "out.json").read_text())["starts"]
    assert list(starts) == ["urbansound8k", "speech-commands"]
    for dataset, rows in starts.items():
        first, again = rows.values()
        assert first["cache, MB"] == again["cache, MB"], dataset
        assert "stopped at step 2" in first["notes"] and "stopped at step 4" in again["notes"]
        assert again["step"]["cpu_s"] > 0 and again["memory after scoring"]["peak"] > 0
        assert "| watched clips of an epoch, calculated |" in result.stdout
