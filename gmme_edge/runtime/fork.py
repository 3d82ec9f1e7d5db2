"""What a forked process may do with an engine of its parent: nothing, and it is told so.

`os.fork` copies an engine's memory and none of its threads. A call in the child would wait for
them for ever, and so would the engine's destructor when the child ends.
"""

from __future__ import annotations

import ctypes
import os
import weakref

from gmme_edge.errors import UsageError

_OPEN: weakref.WeakSet[ForkGuard] = weakref.WeakSet()


class ForkGuard:
    """Holds the objects of an engine; after a fork, the child's copies are leaked on purpose."""

    def __init__(self, *objects: object) -> None:
        self._objects: list[object] = list(objects)
        self._forked = False
        _OPEN.add(self)

    def check(self) -> None:
        """Raise unless the engine is open, and was opened by this very process."""
        if self._forked:
            raise UsageError(
                "The session was opened before this process was forked from another.",
                "a session that this process opened: an engine's threads do not survive a fork.",
                "open the bundle in each worker, or start workers with "
                'multiprocessing.get_context("spawn").',
            )
        if not self._objects:
            raise UsageError("The session is closed.", "a session that is open.")

    def add(self, *objects: object) -> None:
        self._objects += objects

    def release(self) -> None:
        """Drop the objects, last to first."""
        while self._objects:
            self._objects.pop()

    def drop_last(self) -> None:
        if self._objects:
            self._objects.pop()

    @property
    def is_forked(self) -> bool:
        return self._forked

    def leak(self) -> None:
        """Make sure that no destructor of the parent's engine ever runs here."""
        for each in self._objects:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
        self._objects, self._forked = [], True


def _leak_all() -> None:
    for guard in tuple(_OPEN):
        guard.leak()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leak_all)
