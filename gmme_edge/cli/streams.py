"""stdout and stderr, before anything prints to them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


def prepare_streams() -> None:
    """Let stdout and stderr take any character, and be there where the caller closed them."""
    sys.stdout = _usable(sys.stdout)
    sys.stderr = _usable(sys.stderr)


def _usable(stream: TextIO | None) -> TextIO:
    if stream is None:  # started with `>&-`
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - for good
    with contextlib.suppress(AttributeError, ValueError):  # a stand-in without, or used already
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream
