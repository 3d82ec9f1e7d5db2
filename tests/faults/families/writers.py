"""Whatever writes: on a full disk, into a folder that cannot be written, and twice at once.

Each command runs in a process of its own. What lay at its output before is whole afterwards, or
the new one is; nothing lies about; the exit code is a documented one.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.engine import DOCUMENTED, Case, FailedError, command

SEED = 2610
LIMIT_S = 90.0
FILE_BYTES = (0, 1000, 20_000)  # what a file may grow to
USERS = "notes.txt"


@dataclass(frozen=True)
class Work:
    """A command that writes to `out` in the case's folder.

    Attributes:
        arguments: of the shared files and the output.
        before: what lies at the output, copied from the shared files; empty: nothing.
        check: what must hold of an output that is there.
    """

    arguments: Callable[[Path, Path], list[object]]
    check: Callable[[Path], object]
    before: str = ""
    to_folder: bool = False


def _data(shared: Path) -> list[object]:
    return ["--dataset", "speech-commands", "--data", shared / "words", "--cache", shared / "cache"]


def _export(shared: Path, out: Path, *more: object) -> list[object]:
    return ["export", shared / "checkpoint", "-o", out, "--opset", 17, "--precision", "fp32",
            "--cache", shared / "cache", *more]  # fmt: skip


def check_bundle(out: Path) -> None:
    from gmme_edge.bundle.bundle import Bundle

    Bundle.open(out).check_files()


def check_checkpoint(out: Path) -> None:
    from gmme_edge.models.checkpoint import load_checkpoint

    if (out / "model.json").exists():
        load_checkpoint(out)


def check_json(out: Path) -> None:
    json.loads(out.read_text())


def check_lines(out: Path) -> None:
    for line in out.read_text().splitlines():
        json.loads(line)


def check_scan(out: Path) -> None:
    if (out / "scan.json").exists():
        check_json(out / "scan.json")
        if not (out / "events.csv").exists():
            raise FailedError("a result without its table")


def check_text(out: Path) -> None:
    if not out.read_text().strip():
        raise FailedError("an empty file")


WORKS = {
    "train": Work(
        lambda shared, out: [
            "train", *_data(shared), "-o", out, "--model", "eat-s-gmme-k6c4", "--samples", 1024,
            "--sample-rate", 8000, "--factors", "2,2", "--epochs", 1, "--batch-size", 40,
            "--device", "cpu", "--threads", 1, "--no-tensorboard",
        ], check_checkpoint, to_folder=True),
    "convert": Work(
        lambda shared, out: ["convert", shared / "reference.pt", "--task", "speech-commands",
                             "--model", "eat-s-aa", "-o", out], check_checkpoint, to_folder=True),
    "export": Work(_export, check_bundle, to_folder=True),
    "export over": Work(_export, check_bundle, "bundle", to_folder=True),
    "export compact": Work(lambda s, o: _export(s, o, "--compact"), check_bundle, to_folder=True),
    "export for a board": Work(
        lambda s, o: _export(s, o, "--plan", "jetson"), check_bundle, to_folder=True),
    "evaluate": Work(lambda shared, out: ["evaluate", shared / "bundle", *_data(shared), "-o", out],
                     check_json, "result.json"),
    "evaluate record": Work(lambda shared, out: ["evaluate", out, *_data(shared), "--record"],
                            check_bundle, "bundle", to_folder=True),
    "sensitivity": Work(
        lambda shared, out: ["sensitivity", shared / "checkpoint", *_data(shared), "--calib-size",
                             4, "--no-accuracy", "-o", out],
        lambda out: check_json(out / "sensitivity.json"), to_folder=True),
    "profile": Work(lambda shared, out: ["profile", shared / "bundle", "--repetitions", 1,
                                         "--warmup", 0, "-o", out], check_json, "latency.json"),
    "compare": Work(lambda shared, out: ["compare", shared / "result.json", "-o",
                                         out.with_suffix(".html")], check_text),
    "scan": Work(
        lambda shared, out: ["scan", shared / "few", "-m", shared / "bundle", "-o", out,
                             "--workers", 1, "--formats", "csv,jsonl,raven,audacity",
                             "--embeddings", "npy"], check_scan, to_folder=True),
    "listen": Work(lambda shared, out: ["listen", shared / "bundle", "--file", shared / "tone.wav",
                                        "--on", 0.01, "--no-gate", "--events", out], check_lines),
    "a key": Work(lambda shared, out: ["sign", "--new-key", out], check_text),
    "sign": Work(lambda shared, out: ["sign", out, "--key", shared / "key"], check_bundle, "bundle",
                 to_folder=True),
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
    (shared / "few").mkdir()
    for i in range(3):
        shutil.copy(shared / "tone.wav", shared / "few" / f"{i}.wav")
    torch.save(as_reference(EAT(preset("eat-s-aa", "speech-commands"))), shared / "reference.pt")
    for name, out in (("export", "bundle"), ("evaluate", "result.json"),
                      ("profile", "latency.json"), ("a key", "key")):  # fmt: skip
        if code := command(*WORKS[name].arguments(shared, shared / out)):
            raise RuntimeError(f"{name} ended with {code}")


def begin(work: Work, shared: Path, out: Path, before: Callable[[], object]) -> tuple[int, int]:
    """A child of this process that runs the command; its id, and where its traceback comes from."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    code = 99
    try:
        before()
        code = command(*work.arguments(shared, out))
    except BaseException:
        os.write(writer, traceback.format_exc(limit=-8).encode()[-4000:])
    finally:
        os._exit(code)


def end(begun: tuple[int, int]) -> int:
    child, reader = begun
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in DOCUMENTED or said:
        raise FailedError(f"the command ended with {status}\n{said}")
    return status


def _place(work: Work, shared: Path, folder: Path) -> Path:
    out = folder / "place" / "out"
    out.parent.mkdir()
    if not work.before:
        return out
    if (shared / work.before).is_dir():
        shutil.copytree(shared / work.before, out)
        (out / USERS).write_text("mine")
    else:
        shutil.copy(shared / work.before, out)
    return out


def _examine(work: Work, out: Path) -> None:
    """What is there is whole, and nothing else lies about."""
    found = next((p for p in (out, out.with_suffix(".html")) if p.exists()), None)
    if found is not None:
        work.check(found)
    if (out / USERS).exists() and (out / USERS).read_text() != "mine":
        raise FailedError("the user's own file was changed")
    left = [p.name for p in out.parent.rglob("*") if ".tmp-" in p.name or p.name.endswith(".old")]
    if left:
        raise FailedError(f"left behind: {left}")


def _fill(most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def on_a_full_disk(name: str, most_bytes: int, shared: Path, folder: Path) -> None:
    """No file grows beyond `most_bytes`; with room the same command then succeeds."""
    work = WORKS[name]
    out = _place(work, shared, folder)
    end(begin(work, shared, out, partial(_fill, most_bytes)))
    if name != "listen":  # it appends as it hears: a line may be cut
        _examine(work, out)
    if name == "a key" and out.exists():
        return
    if end(begin(work, shared, out, lambda: None)):
        raise FailedError("with room it failed, too")
    _examine(work, out) if name != "listen" else None


def _obey_permissions() -> None:
    """Root writes anywhere, unless it gives up its capabilities."""
    if os.getuid():
        return
    number = {"x86_64": 126, "aarch64": 91}[platform.machine()]
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the third version, this process
    if ctypes.CDLL(None, use_errno=True).syscall(number, header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def where_nothing_may_be_written(name: str, shared: Path, folder: Path) -> None:
    """The folder of the output cannot be written."""
    work = WORKS[name]
    out = _place(work, shared, folder)
    out.parent.chmod(0o555)
    if out.is_dir():
        out.chmod(0o555)
    try:
        if end(begin(work, shared, out, _obey_permissions)) == 0:
            raise FailedError("it wrote where it must not")
    finally:
        out.parent.chmod(0o755)
        if out.is_dir():
            out.chmod(0o755)
    _examine(work, out)


def two_at_once(name: str, shared: Path, folder: Path) -> None:
    """One of them may be refused; what is there is whole."""
    work = WORKS[name]
    out = _place(work, shared, folder)
    begun = [begin(work, shared, out, lambda: None) for _ in range(2)]
    codes = [end(each) for each in begun]
    if 0 not in codes:
        raise FailedError(f"both failed: {codes}")
    if not (out.exists() or out.with_suffix(".html").exists()):
        raise FailedError("nothing was written")
    _examine(work, out)


def to_full_device(name: str, shared: Path, folder: Path) -> None:
    """A link to a device without room, given as the output."""
    work = WORKS[name]
    out = folder / "out"
    out.symlink_to("/dev/full")
    if end(begin(work, shared, out, lambda: None)) == 0:
        raise FailedError("it says that it was written")
    if not Path("/dev/full").is_char_device() or not out.is_symlink():
        raise FailedError("the device was replaced")


def make_cases(shared: Path) -> list[Case]:
    return list(_cases(shared))


def _cases(shared: Path) -> Iterator[Case]:
    for name, work in WORKS.items():
        for most_bytes in FILE_BYTES:
            act = partial(on_a_full_disk, name, most_bytes, shared)
            yield Case(f"{name}, files of {most_bytes} bytes", act, "success", LIMIT_S)
        act = partial(where_nothing_may_be_written, name, shared)
        yield Case(f"{name}, not writable", act, "success", LIMIT_S)
        yield Case(f"{name}, two at once", partial(two_at_once, name, shared), "success", LIMIT_S)
        if not work.to_folder and name not in ("compare", "a key"):
            act = partial(to_full_device, name, shared)
            yield Case(f"{name}, to a full device", act, "success", LIMIT_S)
