"""Two processes that share each batch do what one does with all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.training.parallel.fabric import Processes, open_fabric
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.run.state import STATE

ROOT = Path(__file__).parents[2]
STEPS = 9

# In float64 rounding stays far below any difference in what is computed; in float32, AdamW divides
# gradients that are all rounding by their own size and moves such weights by the learning rate.
# Without dropout: a mask for 4 rows is not two masks for 2.
SETTINGS = ["--double", "--set", "dropout=0", "epochs=3"]


def train(out: Path, *options: str, launcher: tuple[str, ...] = ()) -> int:
    """`tiny_run` in a process of its own, or as many as it is told; returns the exit status."""
    command = [sys.executable, *launcher, "-m", "tests.training.tiny_run", str(out)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LT_", "MASTER_"))}
    done = subprocess.run(
        [*command, *options, *SETTINGS], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    steps = [line for line in done.stdout.splitlines() if line.isdecimal()]
    assert len(steps) == len(set(steps)), "more than one process reports"
    return done.returncode


def load(out: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(out / STATE, "pt") as file:
        note = json.loads((file.metadata() or {})["run"])
        return {key: file.get_tensor(key) for key in file.keys()}, note  # noqa: SIM118


def assert_same(out: Path, wanted: Path) -> None:
    (tensors, note), (other, reference) = load(out), load(wanted)
    assert note["step"] == reference["step"] == STEPS
    assert note["identity"] == reference["identity"]
    torch.testing.assert_close(tensors, other, rtol=0, atol=1e-9)
    for entry, right in zip(note["history"], reference["history"], strict=True):
        assert entry == pytest.approx(right, rel=1e-9)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    assert train(out) == 0
    return out


@pytest.mark.slow
def test_two_processes_are_as_one(alone: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "--devices", "2") == 0
    assert_same(tmp_path, alone)


@pytest.mark.slow
def test_two_stop_together_and_one_continues(alone: Path, tmp_path: Path) -> None:
    """The signal reaches only the second process; the first one saves."""
    assert train(tmp_path, "--devices", "2", "--stop", "4") != 0
    assert load(tmp_path)[1]["step"] == 4
    assert train(tmp_path) == 0
    assert_same(tmp_path, alone)


@pytest.mark.slow
def test_one_stops_and_two_continue_under_torchrun(alone: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "--stop", "4") != 0
    assert load(tmp_path)[1]["step"] == 4
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert train(tmp_path, "--devices", "1", launcher=launcher) == 0
    assert_same(tmp_path, alone)


def of_two(rank: int) -> Processes:
    processes = Processes(None, "cpu", "32")
    processes.rank, processes.size = rank, 2
    return processes


def test_rows_of_two() -> None:
    assert [of_two(rank).rows(8) for rank in (0, 1)] == [Rows(8, 0, 4), Rows(8, 4, 8)]
    assert Processes(None, "cpu", "32").rows(13) == Rows(13, 0, 13)


@pytest.mark.parametrize("total", [1, 2, 6, 13, 126])
def test_odd_shares_are_refused(total: int) -> None:
    fix = max(total // 4, 1) * 4
    with pytest.raises(UsageError, match=rf"{total} clips for 2 (.*\n)*.*--batch-size {fix}$"):
        of_two(0).rows(total)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("cpu", 1, 1, "16"), UsageError, "precision 16 on a CPU"),
        (("cuda:1", 2), UsageError, "2 processes on cuda:1"),
        (("cuda", 99), PlatformError, "99 processes, but torch sees"),
    ],
)
def test_impossible_fabrics(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_fabric(*arguments)
