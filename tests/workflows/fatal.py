"""Tasks for workers that do not survive them; importable where a worker starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from gmme_edge.workflows.archive.dividing import hear_segment
from gmme_edge.workflows.archive.heard import Division, Heard, Job, Segment
from gmme_edge.workflows.archive.hearing import hear


def hear_or_die(job: Job, path: bytes) -> Heard | Division:
    """Die on ``dies*`` each time, on ``once*`` the first time."""
    name = Path(os.fsdecode(path)).name
    mark = Path(os.fsdecode(path) + ".mark")
    if name.startswith("dies") or (name.startswith("once") and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return hear(job, path)


def hear_segment_or_die(job: Job, path: bytes, division: Division, number: int) -> Segment:
    """Die on segment 2 the first time; leave a mark for each that is heard, and for the death."""
    marks = [Path(os.fsdecode(path) + f".{number}{end}") for end in ("", "-died")]
    if number == 2 and not marks[1].exists():
        marks[1].touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with marks[0].open("x"):  # once each
        return hear_segment(job, path, division, number)
