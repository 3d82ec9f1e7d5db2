"""Between a thread that captures sound and the one that hears it."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any

from numpy.typing import NDArray

from gmme_edge.errors import UsageError


class Backlog:
    """Chunks that wait to be heard, at most `capacity_samples`: the oldest are dropped, counted.

    `put` never waits, so that a sound card's thread may call it; `take` waits without spinning.
    """

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise UsageError(f"A backlog of {capacity_samples} samples.", "at least 1.")
        self._capacity = capacity_samples
        self._chunks: deque[NDArray[Any]] = deque()
        self._waiting = self._lost = 0
        self._closed = False
        self._changed = Condition()

    def put(self, chunk: NDArray[Any], lost_before: int = 0) -> None:
        """Append a chunk, which nobody may change afterwards.

        Args:
            lost_before: samples that the source itself lost just before this chunk. They are
                counted with what is dropped here.
        """
        with self._changed:
            if lost_before:  # what waits cannot be joined to what follows
                self._lost += self._waiting + lost_before
                self._chunks.clear()
                self._waiting = 0
            self._chunks.append(chunk)
            self._waiting += len(chunk)
            while self._waiting > self._capacity:
                dropped = len(self._chunks.popleft())
                self._waiting -= dropped
                self._lost += dropped
            self._changed.notify()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> tuple[int, NDArray[Any] | None]:
        """How many samples were lost before the next chunk, and that chunk.

        None in its place: nothing came within `timeout_s`, or the source is closed (`ended`).
        """
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._closed or self._lost, timeout_s)
            lost, self._lost = self._lost, 0
            if not self._chunks:
                return lost, None
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk)
            return lost, chunk

    @property
    def ended(self) -> bool:
        """Closed, and all taken."""
        with self._changed:
            return self._closed and not self._chunks
