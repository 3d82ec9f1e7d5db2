"""Tasks for workers that do not survive them; importable where a worker starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from gmme_edge.workflows.archive.heard import Division, Heard, Job
from gmme_edge.workflows.archive.hearing import hear


def hear_or_die(job: Job, path: bytes) -> Heard | Division:
    """Die on ``dies*`` each time, on ``once*`` the first time."""
    name = Path(os.fsdecode(path)).name
    mark = Path(os.fsdecode(path) + ".mark")
    if name.startswith("dies") or (name.startswith("once") and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return hear(job, path)
