from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.errors import UsageError
from gmme_edge.runtime.streaming.events import Event, EventTracker, find_events
from gmme_edge.runtime.streaming.grid import WindowGrid
from gmme_edge.runtime.streaming.rules import EventRules, Rule
from tests.runtime.streaming.fakes import expected_events

GRID = WindowGrid(sample_rate_hz=100, window_samples=10, hop_us=100_000)  # one cell a window
LABELS = ("dog", "rain")


def events_of(
    values: list[float | None], rules: EventRules, grid: WindowGrid = GRID
) -> list[Event]:
    rows = np.array([[np.nan if v is None else v, 0] for v in values], np.float64)
    total = grid.end(len(values) - 1)
    return find_events(rows, total, LABELS, grid, rules)


def spans(values: list[float | None], rules: EventRules) -> list[tuple[int, int]]:
    """In windows, since one cell is 10 samples."""
    return [(e.start_sample, e.end_sample) for e in events_of(values, rules)]


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 0.2, 0.35, 0.5, 0.8, 1.0]), min_size=1, max_size=40),
    hop_us=st.sampled_from([100_000, 37_000, 70_000]),
    merge=st.sampled_from([0.0, 0.1, 0.25]),
    least=st.sampled_from([0.0, 0.15, 0.4]),
    smoothing=st.sampled_from([0.0, 0.2]),
)
def test_events_are_those_of_an_offline_computation(
    values: list[float], hop_us: int, merge: float, least: float, smoothing: float
) -> None:
    grid = WindowGrid(100, 10, hop_us)
    rules = EventRules(0.5, 0.3, min_duration_s=least, merge_gap_s=merge, smoothing_s=smoothing)
    cells = [grid.cell(k) for k in range(len(values))]
    cells[-1] = (cells[-1][0], grid.end(len(values) - 1))
    expected = expected_events(values, cells, rules, 100, hop_us / 1e6)
    found = events_of(values, rules, grid)
    assert [(e.start_sample, e.end_sample) for e in found] == [e[:2] for e in expected]
    np.testing.assert_allclose([e.peak for e in found], [e[2] for e in expected])
    np.testing.assert_allclose([e.mean for e in found], [e[3] for e in expected])


def test_hysteresis_holds_an_event() -> None:
    assert spans([0, 0.6, 0.4, 0.4, 0.2, 0.4], EventRules(0.5, 0.3)) == [(10, 40)]


def test_long_sounds_are_cut_exactly_at_the_maximum() -> None:
    rules = EventRules(0.5, max_duration_s=0.25)
    assert spans([1] * 7, rules) == [(0, 25), (25, 50), (50, 70)]


def test_refractory_time_keeps_a_label_quiet() -> None:
    rules = EventRules(0.5, refractory_s=0.25)
    assert spans([1, 0, 1, 1, 1, 1], rules) == [(0, 10), (35, 60)]
    both = EventRules(0.5, max_duration_s=0.2, refractory_s=0.3)
    assert spans([1] * 10, both) == [(0, 20), (50, 70)]


def test_short_events_are_dropped_and_start_no_refractory_time() -> None:
    rules = EventRules(0.5, min_duration_s=0.2, refractory_s=1.0)
    assert spans([1, 0, 1, 1, 0], rules) == [(20, 40)]


def test_windows_that_were_not_computed_count_as_nothing() -> None:
    (event,) = events_of([1.0, None, 0.8], EventRules(0.5, merge_gap_s=0.1))
    assert (event.windows, event.first_window, event.last_window) == (2, 0, 2)
    assert event.mean == pytest.approx(0.9)
    slow = EventRules(0.1, smoothing_s=10.0)  # the mean stays high, yet nothing new begins
    assert events_of([None, None], slow) == []


def test_each_label_has_its_own_rule() -> None:
    rows = np.array([[0.6, 0.6], [0.0, 0.0], [0.6, 0.6]])
    rules = EventRules(0.5, per_label={"rain": Rule(0.5, merge_gap_s=1)})
    found = find_events(rows, 30, LABELS, GRID, rules)
    assert [(e.label, e.start_sample, e.end_sample) for e in found] == [
        ("dog", 0, 10), ("dog", 20, 30), ("rain", 0, 30),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [(("dog",), (), {"dog"}), ((), ("dog",), {"rain"}), (("dog", "rain"), ("dog",), {"rain"})],
)
def test_lists_choose_labels(
    allow: tuple[str, ...], deny: tuple[str, ...], expected: set[str]
) -> None:
    rules = EventRules(allow=allow, deny=deny)
    found = find_events(np.ones((3, 2)), 30, LABELS, GRID, rules)
    assert {e.label for e in found} == expected


def test_open_events_are_told_before_they_end() -> None:
    tracker = EventTracker(LABELS, GRID, EventRules(0.5, min_duration_s=0.2))
    tracker.hear((0, 10), np.array([0.9, 0.0]), 0)
    assert tracker.open_events == ()  # too short yet
    tracker.hear((10, 20), np.array([0.7, 0.0]), 1)
    (open_event,) = tracker.open_events
    assert (open_event.label, open_event.end_sample, open_event.mean) == ("dog", 20, 0.8)
    assert [e.label for e in tracker.finish(27)] == ["dog"]
    assert tracker.open_events == ()


def test_rows_must_fit_the_windows() -> None:
    with pytest.raises(UsageError, match="windows, labels"):
        find_events(np.ones((4, 2)), 30, LABELS, GRID)
