"""Streams of calls on a clock that the test turns: what is timed, and what counts as late."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.errors import UsageError
from gmme_edge.profiling import calls, rounds
from gmme_edge.profiling.rounds import LatencySettings, Samples, time_rounds

CLIP = np.zeros((1, 4), np.float32)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter(self) -> float:
        return self.now_ns / 1e9

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (calls, rounds):
        monkeypatch.setattr(module, "time", made)
    return made


def session(clock: Clock, *call_ms: float) -> SimpleNamespace:
    """Its calls take these times, in turn."""
    calls = iter(range(10**9))

    def run(_: object) -> None:
        clock.sleep(call_ms[next(calls) % len(call_ms)] / 1000)

    return SimpleNamespace(run=run)


def take(clock: Clock, settings: LatencySettings, *sessions: SimpleNamespace) -> Samples:
    return time_rounds(sessions, [CLIP] * len(sessions), settings)


def test_bursts_of_an_offline_stream_are_means(clock: Clock) -> None:
    settings = LatencySettings(0, 5, stream="offline")
    samples = take(clock, settings, session(clock, 1, 3), session(clock, 10))
    assert samples.ms == [[pytest.approx(2)] * 5, [pytest.approx(10)] * 5]


def test_a_paced_stream_idles_and_misses_nothing_where_calls_are_short(clock: Clock) -> None:
    settings = LatencySettings(0, 20, stream="paced", hop_s=0.1)
    samples = take(clock, settings, session(clock, 30))
    assert samples.ms == [[pytest.approx(30)] * 20]
    assert samples.misses == [0]
    assert samples.elapsed_s == pytest.approx(2 * (9 * 0.1 + 0.03))


def test_a_call_that_is_late_makes_the_next_wait(clock: Clock) -> None:
    settings = LatencySettings(0, 10, stream="paced", hop_s=0.1)
    samples = take(clock, settings, session(clock, 140, *[30] * 9))
    # Due at 0, done at 140: late. Due at 100, begun at 140, done at 170: 70 ms after it was due.
    assert samples.ms[0][:3] == [pytest.approx(140), pytest.approx(70), pytest.approx(30)]
    assert samples.misses == [1]


def test_calls_that_cannot_keep_up_leave_others_out(clock: Clock) -> None:
    settings = LatencySettings(0, 10, stream="paced", hop_s=0.1)
    samples = take(clock, settings, session(clock, 250))
    # Every call blocks two deadlines or more; what waits never grows beyond one hop.
    assert samples.misses[0] >= 20
    assert max(samples.ms[0]) < 250 + 101


@given(st.lists(st.floats(1, 500), min_size=1, max_size=12), st.floats(5, 300))
def test_a_response_is_late_exactly_where_a_deadline_was_missed(
    call_ms: list[float], hop_ms: float
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock()
        for module in (calls, rounds):
            monkeypatch.setattr(module, "time", clock)
        settings = LatencySettings(0, 10, stream="paced", hop_s=hop_ms / 1000)
        samples = take(clock, settings, session(clock, *call_ms))
    late = sum(ms > hop_ms + 1e-3 for ms in samples.ms[0])
    assert samples.misses[0] >= late
    assert bool(samples.misses[0]) >= bool(late)
    assert min(samples.ms[0]) >= min(call_ms) - 1e-3


def test_a_duration_counts_timed_calls_only(clock: Clock) -> None:
    settings = LatencySettings(None, duration_s=1.0)
    seen: list[tuple[int, int]] = []
    samples = time_rounds(
        [session(clock, 30), session(clock, 20)], [CLIP] * 2, settings, lambda *s: seen.append(s)
    )
    assert len(samples.ms[0]) == len(samples.ms[1]) == 20
    assert samples.warmup_rounds == 20
    assert seen[-1] == (10, 10) and seen[0] == (0, 10)


def test_the_warm_up_goes_on_until_the_medians_settle(clock: Clock) -> None:
    warming = [*np.linspace(60, 30, 40), *[30] * 500]
    samples = take(clock, LatencySettings(None, 3), session(clock, *warming), session(clock, 10))
    assert 40 <= samples.warmup_rounds <= 62
    assert samples.ms[0] == [pytest.approx(30)] * 3


def test_the_warm_up_ends_where_they_never_settle(clock: Clock) -> None:
    growing = np.geomspace(1, 1000, 500)
    assert take(clock, LatencySettings(None, 1), session(clock, *growing)).warmup_rounds <= 200


def test_earlier_samples_are_gone_on_from_in_the_same_order(clock: Clock) -> None:
    def orders(samples: Samples, repetitions: int) -> list[str]:
        called: list[str] = []
        sessions = [SimpleNamespace(run=lambda _, n=n: called.append(n)) for n in "abc"]
        time_rounds(sessions, [CLIP] * 3, LatencySettings(0, repetitions), samples=samples)
        return called

    whole = orders(Samples.empty(3), 8)
    samples = Samples.empty(3)
    assert orders(samples, 3) + orders(samples, 8) == whole
    assert samples.rounds == 8


@pytest.mark.parametrize("how", [{"stream": "paced"}, {"hop_s": 0.1}])
def test_a_hop_belongs_to_a_paced_stream(how: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LatencySettings(**how)  # type: ignore[arg-type]
