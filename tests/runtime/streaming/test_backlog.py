from __future__ import annotations

import time
from threading import Thread

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.runtime.streaming.backlog import Backlog


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=40))
def test_every_sample_is_taken_or_counted_as_lost_in_its_place(
    steps: list[tuple[int, bool]],
) -> None:
    backlog, sent, position = Backlog(12), 0, 0
    for size, takes in steps:
        backlog.put(np.arange(sent, sent + size))
        sent += size
        if takes:
            position = check_next(backlog, position)
    backlog.close()
    while not backlog.ended:
        position = check_next(backlog, position)
    assert position == sent


def check_next(backlog: Backlog, position: int) -> int:
    lost, chunk = backlog.take(0)
    if chunk is None:
        return position + lost
    assert chunk[0] == position + lost  # the oldest were dropped, nothing else
    return int(chunk[-1]) + 1


def test_what_the_source_lost_is_counted_where_it_was_lost() -> None:
    backlog = Backlog(100)
    backlog.put(np.zeros(10))
    backlog.put(np.ones(5), lost_before=7)
    lost, chunk = backlog.take(0)
    assert (lost, len(chunk)) == (17, 5)


def test_waiting_takes_no_cpu_and_ends_when_sound_comes() -> None:
    backlog = Backlog(100)
    Thread(target=lambda: (time.sleep(0.3), backlog.put(np.ones(3)))).start()
    used = time.process_time()
    lost, chunk = backlog.take(5)
    assert (lost, len(chunk)) == (0, 3)
    assert time.process_time() - used < 0.2
