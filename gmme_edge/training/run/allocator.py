"""Keep the C library from handing memory back to the kernel between training steps."""

from __future__ import annotations

import ctypes

# mallopt's parameter numbers in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make glibc reuse freed blocks; returns whether this C library can be told so.

    By default each large tensor is mapped anew, and its pages are cleared on first touch: 44 % of
    a training step's time on a CPU (docs/explanation/training.md). The process keeps its peak
    memory instead.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc: musl, macOS, Windows
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 256 << 20))
    results = [mallopt(number, value) for number, value in settings]
    return results == [1] * len(settings)
