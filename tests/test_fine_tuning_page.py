"""Every command of docs/guides/fine-tuning.md, in its order, with a small network as `esc10`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from gmme_edge.data.synthetic import synthesize
from gmme_edge.models.checkpoint import load_checkpoint
from tests.artifacts import RATE_HZ, small_checkpoint

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "fine-tuning.md"
CLASSES = {"bark": "puffs", "doorbell": "bell", "nothing": "hiss"}


def write_sounds(folder: Path, clips: int, seed: int) -> None:
    for name, sound in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for i in range(clips):
            samples = synthesize(sound, RATE_HZ, 2000 + 300 * i, (seed, len(name), i))
            soundfile.write(folder / name / f"{i}.wav", samples, RATE_HZ)


@pytest.mark.slow
def test_commands_lead_to_a_verified_bundle(root: Path, tmp_path: Path) -> None:
    source = small_checkpoint(root)
    write_sounds(tmp_path / "sounds", 7, seed=0)
    *steps, distillation = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert "--teacher" in distillation and len(steps) == 4
    shell = 'set -eu; gmme-edge() { "$PYTHON" -m gmme_edge.cli.app "$@"; }\n'
    environment = {
        **os.environ, "PYTHON": sys.executable, "XDG_CACHE_HOME": str(tmp_path / "cache")
    }  # fmt: skip
    for step in steps:
        if "evaluate" in step:
            write_sounds(tmp_path / "all" / "test", 2, seed=1)
        commands = step.replace("--init esc10", f"--init {source}").replace("100", "2")
        done = subprocess.run(
            ["bash", "-c", shell + commands],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "my-folds" / "cross-validation.json").is_file()
    manifest = json.loads((tmp_path / "my-bundle" / "manifest.json").read_text("utf-8"))
    assert manifest["labels"] == list(CLASSES)
    before, after = (
        load_checkpoint(p).model.state_dict() for p in (source, tmp_path / "my-checkpoint")
    )
    changed = {name.partition(".")[0] for name in after if not after[name].equal(before[name])}
    assert not changed & {"stem", "stage1"} and {"stage2", "encoder", "classify"} <= changed
