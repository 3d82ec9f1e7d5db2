"""Commands that are ended by a signal at a random moment: what is on the disk is old or new.

Each case ends one command, looks at what it left, lets the same command run to its end, and looks
for what nobody sweeps.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.engine import DOCUMENTED, Case, command

SEED = 2107
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PER_SIGNAL = {"train": 5, "export": 4, "convert": 2, "evaluate": 2, "predict": 2}
OUT, USERS = "out", "notes.txt"


@dataclass(frozen=True)
class Work:
    """A command: its arguments, what lies at its output before, and a check of what is there."""

    arguments: Callable[[Path, Path], list[object]]  # shared, the case's folder
    before: Callable[[Path, Path], object]
    check: Callable[[Path], object]


def _train(shared: Path, folder: Path) -> list[object]:
    return [
        "train", "--dataset", "speech-commands", "--data", shared / "words", "-o", folder / OUT,
        "--cache", folder / "cache", "--model", "eat-s-gmme-k6c4", "--sample-rate", 8000,
        "--samples", 1024, "--factors", "2,2", "--epochs", 3, "--batch-size", 5, "--threads", 1,
        "--device", "cpu", "--no-tensorboard",
    ]  # fmt: skip


def _export(shared: Path, folder: Path) -> list[object]:
    return ["export", shared / "checkpoint", "-o", folder / OUT, "--opset", 17, "--precision",
            "fp32", "--cache", folder / "cache", "--no-embedding"]  # fmt: skip


def _convert(shared: Path, folder: Path) -> list[object]:
    return ["convert", shared / "reference.pt", "--task", "speech-commands", "--model", "eat-s-aa",
            "--classes", 10, "-o", folder / OUT, "--force"]  # fmt: skip


def _evaluate(shared: Path, folder: Path) -> list[object]:
    return ["evaluate", folder / OUT, "--dataset", "speech-commands", "--data", shared / "words",
            "--cache", folder / "cache", "--record", "-o", folder / "result.json",
            "--threads", 1]  # fmt: skip


def _predict(shared: Path, folder: Path) -> list[object]:
    return ["predict", folder / OUT, shared / "words", "--recursive", "--json", "--threads", 1]


def check_bundle(folder: Path) -> None:
    from gmme_edge.bundle.bundle import Bundle

    if (folder / OUT).exists():
        Bundle.open(folder / OUT).check_files()
    if (folder / "result.json").exists():
        json.loads((folder / "result.json").read_text())


def check_checkpoint(folder: Path) -> None:
    from gmme_edge.models.checkpoint import load_checkpoint

    if (folder / OUT / "model.json").exists():
        load_checkpoint(folder / OUT)


def check_run(folder: Path) -> None:
    from tests.training.test_kills import read_state

    out = folder / OUT
    check_checkpoint(folder)
    if (out / "training-state.safetensors").exists():
        read_state(out)
    if (out / "metrics.jsonl").exists():
        text = (out / "metrics.jsonl").read_text()
        whole = text[: text.rfind("\n") + 1].splitlines()
        steps = [e["step"] for e in map(json.loads, whole) if e["kind"] == "step"]
        if steps != sorted(set(steps)):
            raise AssertionError(f"steps {steps}")


def _bundle_before(name: str, shared: Path, folder: Path) -> None:
    shutil.copytree(shared / name, folder / OUT)
    (folder / OUT / USERS).write_text("mine")


WORKS = {
    "train": Work(_train, lambda shared, folder: None, check_run),
    "export": Work(_export, partial(_bundle_before, "bundle"), check_bundle),
    "export anew": Work(_export, lambda shared, folder: None, check_bundle),
    "convert": Work(_convert, partial(_bundle_before, "converted"), check_checkpoint),
    "evaluate": Work(_evaluate, partial(_bundle_before, "bundle"), check_bundle),
    "predict": Work(_predict, partial(_bundle_before, "bundle"), check_bundle),
}


def prepare(shared: Path) -> None:
    """The checkpoints and data that the commands use, and how long each takes here."""
    import torch

    from gmme_edge.models.eat import EAT
    from gmme_edge.spec import preset
    from tests.artifacts import small_checkpoint, write_words
    from tests.models.reference_names import as_reference

    write_words(shared / "words", 4)
    shutil.copytree(small_checkpoint(shared), shared / "checkpoint")
    network = EAT(preset("eat-s-aa", "speech-commands", 10))
    torch.save(as_reference(network), shared / "reference.pt")
    durations = {}
    for name, work in WORKS.items():
        folder = shared / f"first {name}"
        folder.mkdir()
        if name in ("evaluate", "predict"):  # of the bundle that was just exported
            work.before(shared, folder)
        began = time.monotonic()
        _finish(name, shared, folder)
        durations[name] = time.monotonic() - began
        if name == "export":
            shutil.copytree(folder / OUT, shared / "bundle")
        if name == "convert":
            shutil.copytree(folder / OUT, shared / "converted")
    (shared / "durations.json").write_text(json.dumps(durations))


def _start(name: str, shared: Path, folder: Path) -> int:
    """A child of this process that runs the command; its id."""
    from tests.training.killed_run import slow_down  # before the fork: no signal may meet it

    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.environ["TMPDIR"] = str(temporary)
        for each in SIGNALS[1:]:
            signal.signal(each, signal.SIG_DFL if each != signal.SIGINT else
                          signal.default_int_handler)  # fmt: skip
        if name == "train":
            slow_down()
        code = command(*WORKS[name].arguments(shared, folder))
    except BaseException:
        import traceback

        traceback.print_exc()
        (folder / "traceback").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _finish(name: str, shared: Path, folder: Path) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(_start(name, shared, folder), 0)[1])
    if status:
        raise AssertionError(f"the command then ended with {status}{_traceback(folder)}")


def _traceback(folder: Path) -> str:
    path = folder / "traceback"
    return "\n" + path.read_text() if path.exists() else ""


def end_somewhere(
    name: str, number: signal.Signals, share: float, shared: Path, folder: Path
) -> None:
    work = WORKS[name]
    work.before(shared, folder)
    duration_s = json.loads((shared / "durations.json").read_text())[name]
    child = _start(name, shared, folder)
    time.sleep(share * duration_s)
    os.kill(child, number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (*DOCUMENTED, -number):
        raise AssertionError(f"ended with {status}{_traceback(folder)}")
    work.check(folder)
    _finish(name, shared, folder)
    work.check(folder)
    left = [str(p.relative_to(folder)) for p in folder.rglob("*") if _is_leftover(p, folder)]
    if left:
        raise AssertionError(f"left behind: {left[:5]}")
    users = folder / OUT / USERS
    if name in ("export", "convert", "evaluate", "predict") and users.read_text() != "mine":
        raise AssertionError("the user's own file is gone")


def _is_leftover(path: Path, folder: Path) -> bool:
    in_temporary = path.parent == folder / "tmp"
    return in_temporary or ".tmp-" in path.name or path.name.endswith((".lock", ".old", ".part"))


def make_cases(shared: Path) -> list[Case]:
    rng, cases = random.Random(SEED), []
    for name, each in PER_SIGNAL.items():
        for number in SIGNALS:
            for i in range(each):
                chosen = "export anew" if name == "export" and i % 2 else name
                share = (i + rng.random()) / each
                act = partial(end_somewhere, chosen, number, share, shared)
                cases.append(
                    Case(f"{chosen}, {number.name} {i} at {share:.0%}", act, "success", 60.0)
                )
    return cases
