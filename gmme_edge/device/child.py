"""A Python process of our own that runs no code of the folder in which the user stands.

`python -m` and `python -c` look for modules in the current folder first: a ``numpy.py`` in a
downloaded bundle would be run. ``-P`` needs Python 3.11, and ``-I`` drops the user's own packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_FORGET_FOLDER = "import sys; sys.path[:1] = sys.path[:1] if sys.path[0] else []; "


def run_python(code: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter with this one's packages; paths must be absolute."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = os.pathsep.join(str(Path(entry).resolve()) for entry in given if entry)
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-c", _FORGET_FOLDER + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=os.sep,
        env=environment,
    )
