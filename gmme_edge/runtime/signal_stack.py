"""The stack on which this thread's signal handlers run stays the one that it was.

OpenVINO's CPU plugin sets one of its own in the thread that happens to load it, and frees it in the
thread that happens to unload it. The next Ctrl-C or SIGTERM may then write to memory that is gone,
and the process ends by a segmentation fault (seen with 2026.4 on Linux).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """``stack_t`` of Linux's signal.h."""

    _fields_ = (
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    )


def read_signal_stack() -> SignalStack:
    """This thread's."""
    found = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Put this thread's alternate signal stack back at the end."""
    before = read_signal_stack()
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
