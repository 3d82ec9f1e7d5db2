"""Windows of several clients in one run of the network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError
from gmme_edge.runtime.session import Outputs, Session


@dataclass
class _Call:
    rows: NDArray[np.float32]
    future: Future[Outputs] = field(default_factory=Future)
    since_s: float = field(default_factory=time.monotonic)


class BatchingSession:
    """A `Session` for many threads, whose calls share the runs of another session.

    A call waits at most `max_wait_s` for others, and not at all where nobody else is there: as soon
    as as many calls wait as `n_callers` tells, they run. A call with which a run fails fails alone.

    Args:
        session: what runs; only one thread calls it.
        max_rows: of one run; a call of more runs by itself.
        n_callers: how many clients are being served right now.
        on_run: called with the number of rows of each run.
    """

    is_concurrent = True

    def __init__(
        self,
        session: Session,
        max_rows: int,
        max_wait_s: float,
        n_callers: Callable[[], int],
        on_run: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.backend, self.precision = session.backend, session.precision
        self._session, self._max_rows, self._max_wait_s = session, max_rows, max_wait_s
        self._n_callers, self._on_run = n_callers, on_run
        self._waiting: deque[_Call] = deque()
        self._changed, self._closed = Condition(), False
        self._worker = Thread(target=self._work, name="gmme-edge-batches", daemon=True)
        self._worker.start()

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → all outputs of these rows.

        Raises:
            UsageError: the session is closed.
            GmmeEdgeError: as the other session raises.
        """
        call = _Call(waveform)
        with self._changed:
            if self._closed:
                raise UsageError("The session is closed.", "a session that is open.")
            self._waiting.append(call)
            self._changed.notify_all()
        return call.future.result()

    def close(self) -> None:
        """Answer what waits, then free the engine; calling it twice does no harm."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.join()
        self._session.close()

    def _work(self) -> None:
        while calls := self._next():
            self._run(calls)

    def _next(self) -> list[_Call]:
        """The calls of the next run; none where the session was closed and all are answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            waited_s = time.monotonic() - self._waiting[0].since_s
            self._changed.wait_for(self._is_complete, max(0.0, self._max_wait_s - waited_s))
            calls = [self._waiting.popleft()]
            rows = len(calls[0].rows)
            while self._waiting and rows + len(self._waiting[0].rows) <= self._max_rows:
                calls.append(self._waiting.popleft())
                rows += len(calls[-1].rows)
            return calls

    def _is_complete(self) -> bool:
        """Nothing would come of waiting for more."""
        full = sum(len(call.rows) for call in self._waiting) >= self._max_rows
        return full or self._closed or len(self._waiting) >= self._n_callers()

    def _run(self, calls: list[_Call]) -> None:
        try:
            outputs = self._session.run(np.concatenate([call.rows for call in calls]))
        except BaseException as error:
            if len(calls) == 1:
                calls[0].future.set_exception(error)
                return
            for call in calls:  # whose fault it is shows when each runs by itself
                self._run([call])
            return
        self._on_run(sum(len(call.rows) for call in calls))
        start = 0
        for call in calls:
            end = start + len(call.rows)
            call.future.set_result({name: values[start:end] for name, values in outputs.items()})
            start = end
