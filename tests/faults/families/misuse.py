"""Every option of every command with values that no one should give it.

The commands are walked, so that a new option is tried without a word here. What an option is given
must end in an error or, where it is harmless, in success; it is tried beside arguments that are
right.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.engine import Case, command

NUMBERS = ("-1", "99999999999999999999", "9223372036854775808", "nan", "inf", "1e400", "x", "",
           "9" * 5000, "-99999999999", "99999999999")  # fmt: skip
TEXTS = ("", " ", ",", "nonsense", "[/b]", "é" * 500, "caf\udce9", "1,,2", "=", "-", "0x10", "\n")
SEED = 2116
VALUES_PER_OPTION = 3
WORK = ("demo", "cache")  # demo downloads nothing and takes a minute; cache acts on the real one


def _right(shared: Path, folder: Path) -> dict[str, list[object]]:
    """Arguments with which each command ends soon, and well where nothing is wrong with it."""
    data = ["--dataset", "speech-commands", "--data", shared / "words"]
    kept = ["--cache", shared / "cache"]
    return {
        "train": [*data, *kept, "-o", folder / "o", "--model", "eat-s-gmme-k6c4", "--sample-rate",
                  8000, "--samples", 1024, "--factors", "2,2", "--epochs", 1, "--batch-size", 40,
                  "--device", "cpu", "--threads", 1, "--no-tensorboard"],
        "evaluate": [shared / "bundle", *data, *kept, "--threads", 1],
        "paired": [shared / "result.json", shared / "result.json"],
        "convert": [shared / "reference.pt", "--task", "speech-commands", "--model", "eat-s-aa",
                    "-o", folder / "o"],
        "export": [shared / "checkpoint", "-o", folder / "o", "--opset", 17, "--precision", "fp32",
                   *kept],
        "sensitivity": [shared / "checkpoint", *data, *kept, "--calib-size", 4, "--no-accuracy",
                        "-o", folder / "o"],
        "verify": [shared / "bundle"],
        "predict": [shared / "bundle", shared / "tone.wav"],
        "listen": [shared / "bundle", "--file", shared / "tone.wav"],
        "profile": [shared / "bundle", "--repetitions", 1, "--warmup", 0],
        "compare": [shared / "bundle"],
        "scan": [shared / "words", "--model", shared / "bundle", "-o", folder / "o",
                 "--workers", 1],
        "models": [],
        "doctor": [],
        "rerun": [shared / "result.json", "--dry-run"],
        "engine-info": [shared / "bundle" / "model.fp32.onnx"],
        "sign": [shared / "signed", "--key", shared / "key"],
        "similar": [shared / "found", shared / "tone.wav"],
        "serve": [shared / "absent"],  # else it would not end
    }  # fmt: skip


def prepare(shared: Path) -> None:
    import numpy as np
    import soundfile
    import torch

    from gmme_edge.models.eat import EAT
    from gmme_edge.spec import preset
    from tests.artifacts import small_checkpoint, write_words
    from tests.models.reference_names import as_reference

    write_words(shared / "words", 3)
    shutil.copytree(small_checkpoint(shared), shared / "checkpoint")
    soundfile.write(shared / "tone.wav", np.sin(np.arange(9000) / 9), 8000)
    network = EAT(preset("eat-s-aa", "speech-commands"))
    torch.save(as_reference(network), shared / "reference.pt")
    command("export", shared / "checkpoint", "-o", shared / "bundle", "--opset", 17,
            "--precision", "fp32")  # fmt: skip
    shutil.copytree(shared / "bundle", shared / "signed")
    command("sign", "--new-key", shared / "key")
    command("scan", shared / "words", "--model", shared / "bundle", "-o", shared / "found",
            "--embeddings", "npy")  # fmt: skip
    command("evaluate", shared / "bundle", "--dataset", "speech-commands", "--data",
            shared / "words", "--cache", shared / "cache", "-o",
            shared / "result.json")  # fmt: skip


def _parameters() -> Iterator[tuple[str, Any]]:
    """Each command with each of its parameters."""
    import typer.main

    from gmme_edge.cli.app import app

    group = typer.main.get_command(app)
    for name, each in sorted(group.commands.items()):  # type: ignore[attr-defined]
        if name in WORK or getattr(each, "commands", None):
            continue
        for parameter in each.params:
            if parameter.name != "help":
                yield name, parameter


def _values(parameter: Any) -> tuple[str, ...]:  # noqa: ANN401 - click's
    # Newer typers know Python's type; before, it was click's.
    known = parameter.bare_type() if hasattr(parameter, "bare_type") else type(parameter.type)
    kind = getattr(known, "__name__", str(known))
    if kind.lower().startswith(("int", "float")):
        return NUMBERS
    if "Path" in kind:
        return ("", *PLACES)
    if kind.lower().startswith("bool") or getattr(parameter, "is_bool_flag", False):
        return ()
    return (*TEXTS, *NUMBERS[1:4])


def _put(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    def place(folder: Path) -> Path:
        make(folder / "x")
        return folder / "x"

    return place


def _device(minor: int) -> Callable[[Path], Path]:
    """A device of the case's own: root could replace the machine's."""

    def make(path: Path) -> None:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))

    def place(folder: Path) -> Path:
        return _put(make)(folder) if os.getuid() == 0 else Path(f"/dev/{_DEVICES[minor]}")

    return place


_DEVICES = {3: "null", 5: "zero", 7: "full"}
PLACES: dict[str, Callable[[Path], Path]] = {
    "absent": _put(lambda path: None),
    "a folder": _put(lambda path: path.mkdir()),
    "a file": _put(lambda path: path.write_text("mine")),
    "an empty file": _put(lambda path: path.touch()),
    "a pipe": _put(lambda path: os.mkfifo(path)),
    "a link to nothing": _put(lambda path: path.symlink_to("nothing")),
    "a link to itself": _put(lambda path: path.symlink_to("x")),
    "a socket": _put(lambda path: socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))),
    "/dev/null": _device(3),
    "/dev/full": _device(7),
    "/dev/zero": _device(5),
    "/proc": lambda folder: Path("/proc/nothing/here"),
    "inside a file": lambda folder: _put(lambda p: p.touch())(folder) / "y",
    "long": lambda folder: folder / ("x" * 300),
    "deep": lambda folder: folder / "/".join(["x" * 200] * 30),
    "odd": lambda folder: folder / "[/b]\udce9\n",
}


def try_option(shared: Path, name: str, option: str, value: str, folder: Path) -> None:
    """One command; its exit code is checked by `command` itself."""
    given: object = PLACES[value](folder) if value in PLACES else value
    command(name, *_right(shared, folder)[name], *([option] if option else []), given)


def make_cases(shared: Path) -> list[Case]:
    cases, rng = [], random.Random(SEED)
    for name, parameter in _parameters():
        option = "" if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
        values = _values(parameter)
        for value in rng.sample(values, min(VALUES_PER_OPTION, len(values))):
            shown = value if len(value) < 30 else f"{value[:3]}… ({len(value)})"
            act = partial(try_option, shared, name, option, value)
            what = option or parameter.name
            cases.append(Case(f"{name} {what} {shown!a}", act, limit_s=30.0))
    return cases
