"""Locks on folders, which the kernel releases with the process that holds them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX: there nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process of the toolkit changes what is in `folder`, and keep it so.

    Links are followed. Where it was replaced by another folder meanwhile, the lock is that one's.
    """
    folder = Path(os.path.realpath(folder))
    lock = lock_folder(folder, wait=True)
    while lock is not None and not _is_of(lock, folder):
        os.close(lock)
        lock = lock_folder(folder, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _is_of(lock: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), folder.stat())
    except OSError:  # it is gone
        return True


def lock_folder(folder: Path, wait: bool) -> int | None:
    """An open handle that holds the lock; None if it is taken, or no lock can be had here."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle
