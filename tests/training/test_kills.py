"""The real command under SIGKILL and on a full disk: whatever is on the disk can be continued."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from torch import Tensor

from gmme_edge.models.checkpoint import DESCRIPTION, WEIGHTS, load_checkpoint
from gmme_edge.training.run.state import STATE
from tests.artifacts import N_SAMPLES, RATE_HZ, write_words

ROOT = Path(__file__).parents[2]
KILLS = 24
EPOCHS, STEPS_PER_EPOCH = 14, 4  # mixing starts with the 13th epoch
WAIT_S = 300.0

pytestmark = pytest.mark.slow


class Nursery:
    """The process that forks the lives of all runs."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.training.killed_run"],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
            )  # fmt: skip

    def order(self, life: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        print(json.dumps(life), file=self._process.stdin, flush=True)

    def answer(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()
        return int(line)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Run:
    """A training run in ``folder/out`` that is started again and again."""

    def __init__(self, nursery: Nursery, data: Path, folder: Path) -> None:
        self._nursery, self.out = nursery, folder / "out"
        self.cache, self._log = folder / "cache", folder / "log"
        self._log.touch()
        self._arguments = [
            "train", "--dataset", "speech-commands", "--data", str(data), "-o", str(self.out),
            "--cache", str(self.cache), "--model", "eat-s-gmme-k6c4",
            "--sample-rate", str(RATE_HZ), "--samples", str(N_SAMPLES), "--factors", "2,2",
            "--epochs", str(EPOCHS), "--batch-size", "5", "--threads", "1", "--device", "cpu",
        ]  # fmt: skip

    def start(self, file_size_limit: int | None = None) -> int:
        """The process id of a new life, which has begun."""
        lives = len(self.saved())
        self._nursery.order(
            {"arguments": self._arguments, "log": str(self._log), "limit": file_size_limit}
        )
        child = self._nursery.answer()
        self.until(lambda: len(self.saved()) > lives)
        return child

    def wait(self) -> int:
        """The life's exit status."""
        return self._nursery.answer()

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end, self.errors()
            time.sleep(0.0003)

    def errors(self) -> str:
        return self._nursery.errors.read_text()

    def saved(self) -> list[list[int]]:
        """For each life so far, the steps whose state it has saved."""
        lives: list[list[int]] = []
        for line in self._log.read_text().splitlines():
            if line == "start":
                lives.append([])
            else:
                lives[-1].append(int(line.removeprefix("saved ")))
        return lives

    def temporaries(self, name: str = "") -> set[Path]:
        """What is being written, and what killed writers left."""
        return set(self.out.glob(f".{name}*.tmp-*"))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    started = Nursery(tmp_path_factory.mktemp("nursery") / "errors")
    yield started
    started.close()


@pytest.fixture(scope="module")
def open_run(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Run]:
    words = write_words(tmp_path_factory.mktemp("words"), clips_per_class=4)
    return lambda: Run(nursery, words, tmp_path_factory.mktemp("run"))


def read_state(out: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(out / STATE, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["run"])


def moments(run: Run, rng: random.Random) -> Iterator[Callable[[], None]]:
    """For each life, what to wait for before the kill: chance, or one of the files' writes."""

    def by_chance() -> None:
        goal = len(run.saved()[-1]) + rng.randint(0, 3)
        run.until(lambda: len(run.saved()[-1]) >= goal)
        time.sleep(rng.uniform(0, 0.03))

    def while_writing(name: str) -> None:
        left = run.temporaries(name)
        run.until(lambda: bool(run.temporaries(name) - left))
        time.sleep(rng.choice([0, rng.uniform(0, 0.008)]))

    yield lambda: time.sleep(rng.uniform(0, 0.02))  # while it decodes, or before
    while True:
        yield by_chance
        for name in (STATE, WEIGHTS, DESCRIPTION):
            yield lambda name=name: while_writing(name)  # type: ignore[misc]


def check_what_is_left(run: Run) -> int:
    """Everything on the disk is readable, and no saved step is lost; the step to go on from."""
    saved = [step for life in run.saved() for step in life]
    if not (run.out / STATE).exists():
        assert not saved
        return 0
    tensors, note = read_state(run.out)
    step = int(note["step"])
    assert step in (max(saved, default=0), max(saved, default=0) + 1)  # renamed, not yet noted
    assert all(bool(value.isfinite().all()) for value in tensors.values())
    if (run.out / DESCRIPTION).exists():  # written last; absent until the first save has ended
        assert load_checkpoint(run.out).training["step"] <= step
    return step


def ended(run: Run) -> dict[str, Any]:
    """What a finished run has left, but for times; the number of files is part of it."""
    tensors, note = read_state(run.out)
    description = json.loads((run.out / DESCRIPTION).read_text())
    metrics = run.out / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return {
        "files": sorted(p.name for p in run.out.iterdir()),
        "cache": len(list(run.cache.iterdir())),
        "weights": (run.out / WEIGHTS).read_bytes(),
        "tensors": {key: value.numpy().tobytes() for key, value in tensors.items()},
        "note": note,
        "description": description,
        "metrics": [without_speed(json.loads(line)) for line in lines],
    }


def without_speed(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if not k.endswith("_s")}


def test_killed_at_every_kind_of_moment_it_ends_as_if_it_had_not_been(
    open_run: Callable[[], Run],
) -> None:
    """Bit by bit; no kill costs more than the unfinished step, and no temporary file stays."""
    whole, run, rng = open_run(), open_run(), random.Random(0)
    whole.start()
    assert whole.wait() == 0, whole.errors()
    assert whole.saved()[0][-1] == EPOCHS * STEPS_PER_EPOCH
    step, leftovers = 0, 0
    for _, wait_for_moment in zip(range(KILLS), moments(run, rng), strict=False):
        child = run.start()
        wait_for_moment()
        os.kill(child, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, "the run ended before all kills"
        life = run.saved()[-1]
        assert life == list(range(step + 1, step + 1 + len(life)))
        step = check_what_is_left(run)
        leftovers += bool(run.temporaries())
    assert leftovers >= KILLS // 4, "too few kills hit a write"
    run.start()
    assert run.wait() == 0, run.errors()
    got, wanted = ended(run), ended(whole)
    for part, value in wanted.items():
        assert got[part] == value, part


def test_full_disk_is_reported_and_the_run_goes_on_once_there_is_room(
    open_run: Callable[[], Run],
) -> None:
    """A limit on the size of a file stands for the disk; the kernel refuses for real."""
    run = open_run()
    child = run.start()
    run.until(lambda: len(run.saved()[-1]) >= 3)
    os.kill(child, signal.SIGTERM)
    assert run.wait() == 130
    before = {p.name: p.read_bytes() for p in run.out.iterdir() if p.is_file()}
    size = len(before[STATE])
    run.start(file_size_limit=size // 2)
    assert run.wait() == 3
    message = run.errors()
    assert f"error: {run.out / STATE} could not be written: File too large; " in message
    assert f"room for {size / 1e6:,.1f} MB beside the old version" in message
    assert "Fix: free some space" in message
    after = {p.name: p.read_bytes() for p in run.out.iterdir() if p.is_file()}
    assert {k: v for k, v in after.items() if k != "metrics.jsonl"} == {
        k: v for k, v in before.items() if k != "metrics.jsonl"
    }
    step = check_what_is_left(run)
    run.start()
    assert run.wait() == 0
    steps = EPOCHS * STEPS_PER_EPOCH
    assert run.saved()[-1] == [*range(step + 1, steps + 1), steps]  # and once more at the end
    assert load_checkpoint(run.out).training["finished"]
