"""Ctrl-C and SIGTERM as a request that the loop answers between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    requested = False


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch the first SIGINT or SIGTERM; a second one interrupts at once.

    Outside the main thread, where Python delivers no signals, this changes nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(_signum: int, _frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True
        os.write(2, b"\nstopping after this step; once more stops at once\n")  # signal-safe

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
