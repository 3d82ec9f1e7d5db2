"""Ctrl-C, SIGTERM, a closed terminal: an interrupt, or a request that is met between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class StopRequest:
    requested = False


_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is unknown to Windows
_Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def stop_on_signal(said: str = "") -> Iterator[StopRequest]:
    """Catch the first SIGINT, SIGTERM or SIGHUP, and say `said`; a second one interrupts at once.

    A signal that is ignored, as `nohup` ignores SIGHUP, stays so. Outside the main thread, where
    Python delivers no signals, this changes nothing.
    """
    request = StopRequest()

    def handle(_signum: int, _frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True
        if said:
            _say(f"\n{said}; once more stops at once\n".encode())

    with _handling(handle):
        yield request


@contextlib.contextmanager
def interrupt_on_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `KeyboardInterrupt`, as Ctrl-C does."""

    def handle(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(handle):
        yield


@contextlib.contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    old = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, former in old.items():
            signal.signal(number, former)


def _say(text: bytes) -> None:
    """Signal-safe; without a stderr its number may be that of any file."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            os.write(2, text)
