"""Calls of several threads in one run: joined, apart where one fails, and never kept waiting."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gmme_edge.errors import OutputError, UsageError
from gmme_edge.runtime.session import Outputs
from gmme_edge.service.batching import BatchingSession
from gmme_edge.service.server import listen_on


class Doubling:
    """Answers each row with twice its sum; a row with a negative sum breaks the whole run."""

    backend, precision = "fake", "fp32"

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.free, self.entered = threading.Event(), threading.Event()
        self.free.set()
        self.closed = False

    def run(self, waveform: np.ndarray) -> Outputs:
        self.entered.set()
        assert self.free.wait(30)
        self.runs.append(len(waveform))
        sums = waveform.sum(axis=1, keepdims=True)
        if (sums < 0).any():
            raise OutputError("negative")
        return {"logits": 2 * sums, "embedding": sums}

    def close(self) -> None:
        self.closed = True


def rows(*sums: float) -> np.ndarray:
    return np.array(sums, np.float32)[:, None]


def run_at_once(session: BatchingSession, inner: Doubling, calls: list[np.ndarray]) -> list[object]:
    """What each call gives or raises, where all wait before the engine is free."""

    def attempt(call: np.ndarray) -> object:
        try:
            return session.run(call)["logits"].ravel().tolist()
        except OutputError as error:
            return error

    inner.free.clear()
    with ThreadPoolExecutor(len(calls) + 1) as pool:
        first = pool.submit(attempt, rows(0))  # keeps the engine busy
        assert inner.entered.wait(30)
        found = [pool.submit(attempt, call) for call in calls]
        while len(session._waiting) < len(calls):
            time.sleep(0.001)
        inner.free.set()
        assert first.result(30) == [0]
        return [one.result(30) for one in found]


def make(max_rows: int = 8, n_callers: int = 1, max_wait_s: float = 0.0) -> tuple[
    BatchingSession, Doubling
]:  # fmt: skip
    inner = Doubling()
    return BatchingSession(inner, max_rows, max_wait_s, lambda: n_callers), inner


def test_calls_that_wait_share_runs_and_get_their_own_rows() -> None:
    session, inner = make(max_rows=4)
    calls = [rows(1, 2), rows(3), rows(4, 5), rows(6)]
    found = run_at_once(session, inner, calls)
    session.close()
    assert found == [[2, 4], [6], [8, 10], [12]]
    assert sum(inner.runs) == 7 and max(inner.runs) <= 4 and len(inner.runs) < 5


def test_a_call_that_fails_fails_alone() -> None:
    session, inner = make()
    found = run_at_once(session, inner, [rows(1), rows(-1), rows(2)])
    session.close()
    assert found[0] == [2] and found[2] == [4] and isinstance(found[1], OutputError)


def test_a_call_of_more_rows_than_a_run_holds_runs_by_itself() -> None:
    session, inner = make(max_rows=2)
    assert session.run(rows(1, 2, 3))["logits"].ravel().tolist() == [2, 4, 6]
    session.close()
    assert inner.runs == [3]


def test_nobody_waits_where_nobody_else_is_there() -> None:
    session, _ = make(n_callers=1, max_wait_s=3600)
    session.run(rows(1))
    session.close()


def test_the_wait_for_others_is_bounded() -> None:
    session, _ = make(n_callers=100, max_wait_s=0.01)
    session.run(rows(1))
    session.close()


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    session, inner = make(n_callers=100, max_wait_s=3600)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(session.run, rows(1))
        while not session._waiting:
            time.sleep(0.001)
        session.close()
        assert waiting.result(30)["logits"].tolist() == [[2]]
    session.close()
    assert inner.closed
    with pytest.raises(UsageError, match="closed"):
        session.run(rows(1))


def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    with listen_on("127.0.0.1", 0) as (opened, _):
        with socket.create_connection(opened.getsockname()):
            connection, _ = opened.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
