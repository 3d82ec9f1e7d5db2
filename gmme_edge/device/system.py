"""What the system's files and programs say; silence where they cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")
"""Where ``proc``, ``sys`` and ``etc`` are found; tests give folders that imitate boards."""


def read(path: str | Path) -> str:
    """A file's text without the zero bytes and line ends around it; "" where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n \t")
    except OSError:
        return ""


def read_number(path: str | Path) -> int | None:
    """A file's decimal integer; None where there is none."""
    text = read(path)
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 24 else None


def output_of(*command: str) -> str:
    """What a program of the system prints; one that PATH finds in the current folder is none."""
    import shutil  # only those who describe a machine start programs
    import subprocess

    program = shutil.which(command[0])
    if program is None or not Path(program).is_absolute():
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, timeout=10, check=False, cwd=os.sep
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""
