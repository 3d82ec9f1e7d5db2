"""`gmme-edge train` in children that a test may kill: ``python -m tests.training.killed_run``.

A line on stdin, JSON with the command's arguments, a log and a limit on the size of files, forks
one; its process id is printed, and its exit status once it has ended. So torch is imported once
for all the lives of a run. The network is small, every step saves, and every flush takes some
milliseconds, so that kills hit it. A child notes in its log ``start``, and ``saved N`` when the
state of step N is on the disk.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import rich.progress  # noqa: F401
import soundfile  # noqa: F401
import torch._dynamo  # noqa: F401 - AdamW loads it, which takes seconds

import gmme_edge.data.registry  # noqa: F401
from gmme_edge import files
from gmme_edge.cli.app import app
from gmme_edge.spec import BACKBONES, Backbone
from gmme_edge.training.run import loop
from gmme_edge.training.run.state import RunState

FLUSH_S = 0.004


def slow_down() -> None:
    BACKBONES["eat-s"] = Backbone(4, 16, 32, 1, 4)
    loop._SAVE_EVERY_S = 0.0
    flush = os.fsync

    def flush_slowly(handle: int) -> None:
        time.sleep(FLUSH_S / 2)
        flush(handle)
        time.sleep(FLUSH_S / 2)

    files.os.fsync = flush_slowly


def note_saves(log: Path) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    save = RunState.save

    def save_and_note(self: RunState, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        save(self, *args, **kwargs)
        os.write(handle, f"saved {self.step}\n".encode())

    RunState.save = save_and_note  # type: ignore[method-assign]
    os.write(handle, b"start\n")


def live(log: str, arguments: list[str], limit: int | None) -> int:
    """Run the command in this forked child; its exit status."""
    slow_down()
    note_saves(Path(log))
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        app(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is the parent's
            status = 1
            try:
                status = live(**json.loads(line))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
