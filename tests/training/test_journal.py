"""metrics.jsonl survives kills, and is in step with the state that a run goes on from."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from gmme_edge.errors import MissingDependencyError
from gmme_edge.training.run import journal as module
from gmme_edge.training.run.journal import METRICS, TENSORBOARD, Journal, read_metrics

ROOT = Path(__file__).parents[2]


def filled(folder: Path, steps: int = 6) -> Journal:
    journal = Journal(folder, tensorboard=False)
    journal.rewind(0)
    for step in range(1, steps + 1):
        journal.log(step, "step", {"loss": 1 / step})
        if step % 3 == 0:
            journal.log(step, "epoch", {"loss": 0.5, "accuracy": step / 10})
    return journal


def steps_in(folder: Path) -> list[int]:
    return [entry["step"] for entry in read_metrics(folder / METRICS)]


def test_one_json_object_per_line(tmp_path: Path) -> None:
    filled(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [(e["step"], e["kind"]) for e in lines] == [
        (1, "step"), (2, "step"), (3, "step"), (3, "epoch"), (4, "step"), (5, "step"),
        (6, "step"), (6, "epoch"),
    ]  # fmt: skip
    assert lines[3]["accuracy"] == 0.3 and lines[1]["loss"] == 0.5
    assert lines == read_metrics(tmp_path / METRICS)
    assert not (tmp_path / TENSORBOARD).exists()


@pytest.mark.parametrize("step", [0, 2, 3, 6, 99])
def test_rewind_drops_what_came_later(tmp_path: Path, step: int) -> None:
    filled(tmp_path)
    again = Journal(tmp_path, tensorboard=False)
    again.rewind(step)
    kept = [s for s in [1, 2, 3, 3, 4, 5, 6, 6] if s <= step]
    assert steps_in(tmp_path) == kept
    again.log(step + 1, "step", {"loss": 0.1})
    assert steps_in(tmp_path) == [*kept, step + 1]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """Cut anywhere: the whole lines stay, and what follows begins on a line of its own."""
    filled(tmp_path, 3)
    path = tmp_path / METRICS
    whole = path.read_bytes()
    before_last = whole[:-1].rfind(b"\n") + 1
    for end in range(before_last, len(whole) - 1):
        path.write_bytes(whole[:end])
        Journal(tmp_path, tensorboard=False).rewind(99)
        assert path.read_bytes() == whole[:before_last]
    path.write_bytes(whole[:before_last] + b"\0\xff\0 \n[3]\n{}\n")
    journal = Journal(tmp_path, tensorboard=False)
    journal.rewind(3)
    journal.log(4, "step", {"loss": 1.0})
    assert steps_in(tmp_path) == [1, 2, 3, 4]


def test_elapsed_time_leaves_out_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    journal = Journal(tmp_path, tensorboard=False)
    journal.rewind(0)
    now = 110.0
    journal.log(1, "step", {})
    now = 150.0
    journal.log(2, "step", {})
    now = 9000.0
    journal = Journal(tmp_path, tensorboard=False)
    journal.rewind(1)
    now = 9005.0
    journal.log(2, "step", {})
    assert [entry["elapsed_s"] for entry in read_metrics(tmp_path / METRICS)] == [10, 15]
    assert journal.elapsed_s == 15


def test_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tensorboard=False)
    journal.rewind(0)
    journal.log(1, "step", {"gradient_norm": math.inf, "loss": math.nan, "lr": 1e-3})
    (entry,) = read_metrics(tmp_path / METRICS)
    assert (entry["gradient_norm"], entry["loss"], entry["lr"]) == (None, None, 1e-3)


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    """Killed without a chance to flush, right after a line."""
    code = f"""
import os, signal
from pathlib import Path
from gmme_edge.training.run.journal import Journal
journal = Journal(Path({str(tmp_path)!r}), tensorboard=False)
journal.rewind(0)
for step in range(1, 51):
    journal.log(step, "step", {{"loss": 1.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -9
    assert steps_in(tmp_path) == list(range(1, 51))


def test_tensorboard_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert not Journal(tmp_path).tensorboard
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"\[logging\]"):
        Journal(tmp_path, tensorboard=True)


def test_tensorboard_shows_the_kept_steps(tmp_path: Path) -> None:
    """Read back by TensorBoard itself: after a rewind, the undone steps are gone."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last, loss in ((1, 6, 1.0), (4, 8, 2.0)):
        journal = Journal(tmp_path)
        journal.rewind(first - 1)
        for step in range(first, last + 1):
            journal.log(step, "epoch", {"loss": loss})
        journal.close()
    events = EventAccumulator(str(tmp_path / TENSORBOARD))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("epoch/loss")]
    assert points == [(s, 1.0) for s in (1, 2, 3)] + [(s, 2.0) for s in (4, 5, 6, 7, 8)]
