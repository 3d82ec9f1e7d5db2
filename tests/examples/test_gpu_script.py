"""The prepared GPU script, to its last line on a CPU, and what a second call continues."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"

sys.path.insert(0, str(GPU))
try:
    import folds as folds_script
    import packing
    import run as run_script
finally:
    sys.path.remove(str(GPU))


def write_esc50(root: Path, classes: int = 2, per_fold: int = 4) -> Path:
    """ESC-50's layout: folds of short tones."""
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    rng = np.random.default_rng(0)
    number = 0
    for fold in (1, 2, 3, 4, 5):
        for index in range(per_fold):
            number += 1
            target = index % classes
            name = f"{fold}-{number}-A-{target}.wav"
            tone = np.sin(2 * np.pi * (300 + 900 * target) * np.arange(8192) / 8000)
            soundfile.write(root / "audio" / name, 0.3 * tone + 0.01 * rng.normal(size=8192), 8000)
            rows.append(f"{name},{fold},{target},c{target},True,{number},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def test_the_compared_pair_goes_first() -> None:
    jobs = folds_script.list_jobs(("gmme-k32c16", "aa", "gmme-k32c8"), (1, 2))
    assert [job.name for job in jobs] == [
        "aa-fold-1", "gmme-k32c8-fold-1", "aa-fold-2", "gmme-k32c8-fold-2",
        "gmme-k32c16-fold-1", "gmme-k32c16-fold-2",
    ]  # fmt: skip


def test_packs_are_bounded_and_come_back(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    for name, size in (("a/fold.json", 100), ("b/training-state.safetensors", 70_000),
                       ("c/training-state.safetensors", 80_000), ("a/model.safetensors", 60_000),
                       ("a/training-state.safetensors", 90_000)):  # fmt: skip
        path = runs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    wanted = run_script.list_for_packing(runs)
    assert [str(p.relative_to(runs)) for p in wanted] == [
        "a/fold.json", "b/training-state.safetensors", "c/training-state.safetensors",
        "a/model.safetensors",
    ]  # fmt: skip
    packed, left_out = packing.pack(runs, wanted, out, 100_000, 2)
    assert [p.name for p in left_out] == ["model.safetensors"]
    assert all(path.stat().st_size <= 100_000 for path in out.glob("*.tar"))
    packing.unpack(out, tmp_path / "back")
    for path in packed:
        back = tmp_path / "back" / path.relative_to(runs)
        assert back.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_the_gpu_script_runs_to_its_last_line_and_continues(tmp_path: Path) -> None:
    data = write_esc50(tmp_path / "data")

    def call(out: str, *words: str) -> str:
        done = subprocess.run(
            [
                sys.executable, str(GPU / "run.py"), "--data", str(data), "--out",
                str(tmp_path / out), "--minutes", "60", "--tiny", "--parallel", "2", *words,
            ],
            capture_output=True, text=True, check=False, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": ".:exporters:calibration", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    told = call("first")
    first = tmp_path / "first"
    assert "0 of 4 runs are done" in told
    latency = json.loads((first / "latency.json").read_text(encoding="utf-8"))
    assert any("median_ms" in row for row in latency["rows"]), told
    speed = json.loads((first / "throughput.json").read_text(encoding="utf-8"))
    assert {"eager", "graphs", "loop"} == {row["way"] for row in speed["rows"]}
    assert all("clips_per_s" in row for row in speed["rows"] if row["way"] in ("eager", "loop"))
    for network in ("aa", "gmme-lite-k32c8"):
        result = json.loads((first / f"{network}.json").read_text(encoding="utf-8"))
        assert result["kind"] == "cross-validation" and result["pooled"]["n"] == 8
    with tarfile.open(first / "pack-1.tar") as archive:
        assert "aa-fold-1/fold.json" in archive.getnames()
    told = call("second", "--previous", str(first), "--skip", "latency,throughput")
    assert "4 of 4 runs are done" in told
    again = json.loads((tmp_path / "second" / "aa.json").read_text(encoding="utf-8"))
    assert again["pooled"]["n"] == 8
