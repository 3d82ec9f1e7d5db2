"""The folder of a run: one training at a time, and nothing of anybody else's in it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from gmme_edge.bundle.bundle import MANIFEST
from gmme_edge.destinations import real_folder
from gmme_edge.errors import UsageError
from gmme_edge.inputs import read_text
from gmme_edge.ownership import claim_checkpoint
from gmme_edge.training.run.journal import METRICS, read_metrics

try:
    import fcntl
except ImportError:  # not POSIX: there two trainings are not told apart
    fcntl = None  # type: ignore[assignment]

STATE = "training-state.safetensors"
LOCK = "training.lock"


@contextlib.contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for one training; the kernel lets go with the process, however it ends.

    A link is followed, also one that leads to a folder which is not there yet.

    Raises:
        UsageError: another process trains there; it is named.
    """
    folder = real_folder(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    handle = _open_locked(path)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)
        with contextlib.suppress(OSError):  # what was refused leaves no empty folder
            for each in made:
                each.rmdir()


def _open_locked(path: Path) -> int | None:
    """A locked handle of the file that `path` names; None where locks are not to be had."""
    if fcntl is None:
        return None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _taken(path) from None
        except OSError:  # a file system without locks
            os.close(handle)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                break
        os.close(handle)  # the holder before removed it meanwhile
    holder = {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(holder).encode())
    return handle


def _taken(path: Path) -> UsageError:
    try:
        holder = json.loads(read_text(path))
        who = f"process {holder['process']} on {holder['machine']}, since {holder['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        who = "another process"
    return UsageError(
        f"{path.parent} is being trained in by {who}.",
        "one training for each folder.",
        "wait for it, stop it, or choose another -o.",
    )


def refuse_loss(out: Path, restart: bool) -> None:
    """Raise where training into `out` would overwrite what no run of this project left there.

    Raises:
        UsageError: what `claim_checkpoint` says, where there is no run to continue; or figures
            that are of something else, which nothing overwrites.
    """
    folder = real_folder(out)
    if (folder / STATE).exists() and not (folder / MANIFEST).exists():
        return  # a run, which is continued, or replaced by --restart
    claim_checkpoint(out, restart, "--restart")
    refuse_foreign(folder / METRICS, lambda path: bool(read_metrics(path)))


def refuse_foreign(path: Path, is_own: Callable[[Path], bool]) -> None:
    """Raise `UsageError` where a file of a run's name holds something else than `is_own` knows."""
    empty = path.is_file() and path.stat().st_size == 0
    if path.exists() and not empty and not (path.is_file() and is_own(path)):
        raise UsageError(
            f"{path} is not of a training.",
            "a folder of its own.",
            "move it away, or choose another -o; --restart does not replace it.",
        )
