from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

import gmme_edge
from gmme_edge.errors import AudioError, UsageError
from gmme_edge.runtime.streaming.events import Event, Gap, find_events
from gmme_edge.runtime.streaming.gate import GateRules
from gmme_edge.runtime.streaming.grid import make_grid
from gmme_edge.runtime.streaming.rules import EventRules, Rule
from gmme_edge.runtime.streaming.stream import Stream, classify_windows
from tests.runtime.streaming.fakes import LevelClassifier

EAST = timezone(timedelta(hours=9))
RULES = EventRules(on=0.4, off=0.3, merge_gap_s=0.05, smoothing_s=0.03)


def bursts(n: int, seed: int = 0) -> np.ndarray:
    """Noise whose level jumps now and then."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.choice([0.0, 0.02, 0.3, 0.9], n // 150 + 1), 150)[:n]
    return (levels * rng.uniform(-1, 1, n)).astype(np.float32)


def in_chunks(stream: Stream, sound: np.ndarray, cuts: list[int], rate_hz: int) -> list[Event]:
    events = []
    for part in np.split(sound, sorted(c % (len(sound) + 1) for c in cuts)):
        events += stream.push(part, rate_hz)
    return events + stream.flush()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 4000),
    cuts=st.lists(st.integers(0, 10**6), max_size=30),
    rate_hz=st.sampled_from([1000, 800, 1100, 2205, 4800]),
    hop_ms=st.sampled_from([1.0, 37.0, 33.3, 100.0, 400.0]),
    gate=st.booleans(),
)
def test_chunks_do_not_matter(
    n: int, cuts: list[int], rate_hz: int, hop_ms: float, gate: bool
) -> None:
    kinds = {} if gate else {"gate": None}
    whole = Stream(LevelClassifier(), hop_ms, RULES, **kinds)
    cut = Stream(LevelClassifier(), hop_ms, RULES, **kinds)
    sound = bursts(n)
    assert in_chunks(cut, sound, cuts, rate_hz) == in_chunks(whole, sound, [], rate_hz)
    assert (cut.windows, cut.computed) == (whole.windows, whole.computed)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 5000),
    rate_hz=st.sampled_from([1000, 700, 1600, 44100]),
    hop_ms=st.sampled_from([37.0, 90.5, 400.0]),
)
def test_a_stream_equals_the_batch_over_the_file(n: int, rate_hz: int, hop_ms: float) -> None:
    classifier, sound = LevelClassifier(), bursts(n)
    resampled = sound if rate_hz == 1000 else soxr.resample(sound, rate_hz, 1000, quality="HQ")
    grid = make_grid(1000, classifier.window_samples, hop_ms)
    found = classify_windows(classifier, resampled, grid.starts(len(resampled)))
    batch = find_events(found, len(resampled), classifier.labels, grid, RULES)
    stream = Stream(LevelClassifier(), hop_ms, RULES, gate=None)
    assert in_chunks(stream, sound, list(range(0, n, 97)), rate_hz) == batch


@settings(max_examples=20, deadline=None)
@given(
    channels=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
    dtype=st.sampled_from(["int8", "uint8", "int16", "int32", "float32", "float64"]),
)
def test_channels_and_types_give_the_sound_of_their_mean(
    channels: int, cuts: list[int], dtype: str
) -> None:
    rng = np.random.default_rng(1)
    if dtype.startswith("float"):
        sound = rng.uniform(-1, 1, (2000, channels)).astype(dtype)
        mono = sound.astype(np.float64).mean(axis=1)
    else:
        info = np.iinfo(dtype)
        sound = rng.integers(info.min, info.max, (2000, channels), dtype, endpoint=True)
        centre = 128 if dtype == "uint8" else 0
        mono = (sound.astype(np.float64).mean(axis=1) - centre) / 2.0 ** (info.bits - 1)
    whole = Stream(LevelClassifier(), 50, RULES, gate=None)
    expected = in_chunks(whole, mono, [], 1000)
    found = in_chunks(Stream(LevelClassifier(), 50, RULES, gate=None), sound, cuts, 1000)
    assert [(e.label, e.start_sample, e.end_sample) for e in found] == [
        (e.label, e.start_sample, e.end_sample) for e in expected
    ]
    np.testing.assert_allclose([e.mean for e in found], [e.mean for e in expected], atol=1e-6)


def test_the_last_partial_window_is_heard() -> None:
    sound = np.zeros(1000, np.float32)
    sound[-3:] = 1  # behind the last whole window, which ends at 800
    stream = Stream(LevelClassifier(), 400, EventRules(on=0.9), gate=None)
    events = in_chunks(stream, sound, [500], 1000)
    assert [(e.label, e.end_sample) for e in events] == [("top", 1000)]


def test_a_sound_shorter_than_a_window_is_heard() -> None:
    stream = Stream(LevelClassifier(), 100, EventRules(on=0.9))
    assert stream.push(np.ones(7, np.float32), 1000) == []
    (event,) = stream.flush()
    assert (event.label, event.start_sample, event.end_sample, event.windows) == ("top", 0, 7, 1)


def test_reset_forgets_everything() -> None:
    stream, sound = Stream(LevelClassifier(), 37, RULES), bursts(3000)
    first = in_chunks(stream, sound, [10, 500], 1000)
    stream.reset()
    assert in_chunks(stream, sound, [700], 1000) == first
    stream.reset()
    assert in_chunks(stream, bursts(9000), [], 3000)  # another rate


def test_after_flush_time_goes_on() -> None:
    stream = Stream(LevelClassifier(), 100, EventRules(on=0.9), gate=None)
    quiet, loud = np.zeros(1234, np.float32), np.ones(50, np.float32)
    stream.push(quiet, 1000)
    assert stream.flush() == []
    stream.push(loud, 1000)
    (event,) = stream.flush()
    assert (event.start_sample, event.end_sample) == (1234, 1284)


def test_lost_sound_is_a_counted_gap_and_time_stays_true() -> None:
    start = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    stream = Stream(LevelClassifier(), 100, EventRules(on=0.9), gate=None, start=start)
    assert stream.push(np.ones(1600, np.float32), 2000) == []
    found = stream.skip(2_000_000, 2000)
    *events, gap = found
    assert isinstance(gap, Gap)
    assert {e.label for e in events} == {"mean", "top"}
    assert all(e.end_sample == 800 for e in events)
    assert (gap.start_sample, gap.end_sample, gap.lost_samples) == (800, 1_000_800, 2_000_000)
    later = list(stream.push(np.ones(1600, np.float32), 2000) + stream.flush())
    assert all((e.start_sample, e.end_sample) == (1_000_800, 1_001_600) for e in later)
    assert later[0].start_utc == start + timedelta(seconds=1000.8)
    assert later[0].to_dict()["start_utc"] == "2025-12-31T22:16:40.800+00:00"
    assert stream.position_s == 1001.6


def test_an_hour_at_37_ms_does_not_drift() -> None:
    grid = make_grid(22_050, 114_688, 37.0)
    assert grid.start(100_000) == 3700 * 22_050
    assert all(abs(grid.start(k) - k * 0.037 * 22_050) < 1.01 for k in range(0, 100_000, 997))
    spans = [grid.cell(k) for k in range(5000)]
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 48_000), st.integers(1, 3000), st.integers(1000, 10**6), st.integers(0, 9000))
def test_windows_cover_every_sample(rate_hz: int, window: int, hop_us: int, total: int) -> None:
    try:
        grid = make_grid(rate_hz, window, hop_us / 1000)
    except UsageError:
        return
    counted = sum(grid.end(k) <= total for k in range(total + 2))
    assert grid.whole_windows(total) == counted
    covered = np.zeros(total, bool)
    for start in grid.starts(total):
        covered[start : start + window] = True
    assert covered.all()


def test_gate_spares_silence_and_lets_sound_through() -> None:
    classifier = LevelClassifier(16_000, 16_000)
    stream = Stream(classifier, 250, EventRules(on=0.5, allow=("top",)))
    rng = np.random.default_rng(0)
    sound = (rng.standard_normal(60 * 16_000) * 1e-3).astype(np.float32)
    sound[40 * 16_000 : 41 * 16_000] += np.sin(np.arange(16_000) / 3).astype(np.float32) * 0.9
    (event,) = in_chunks(stream, sound, [], 16_000)
    assert 39 < event.start_s <= 40.01
    assert 41 <= event.end_s < 42
    assert classifier.calls < 0.25 * stream.windows
    stream.reset()
    assert in_chunks(stream, np.zeros(160_000, np.float32), [], 16_000) == []
    assert stream.computed == 0


def test_wrong_chunks_are_refused_and_change_nothing() -> None:
    stream, sound = Stream(LevelClassifier(), 100, RULES), bursts(2000)
    expected = in_chunks(Stream(LevelClassifier(), 100, RULES), sound, [], 1000)
    events = stream.push(sound[:700], 1000)
    for wrong, rate in (
        (np.array([0.1, np.nan], np.float32), 1000),
        (np.array([np.inf]), 1000),
        (np.zeros((2, 2, 2), np.float32), 1000),
        (np.zeros((2, 2), np.float32), 1000),
        (np.zeros((2, 441), np.float32), 1000),
        (np.zeros(2, np.complex64), 1000),
        (np.zeros(2, np.float32), 8000),
        (np.zeros(2, np.float32), "1000"),
        (np.zeros(2, np.float32), None),
        (np.zeros(2, np.float32), 1000.5),
        (np.zeros(2, np.float32), 10**400),
        (None, 1000),
        ("sound", 1000),
        ([[0.1], [0.1, 0.2]], 1000),
    ):
        with pytest.raises((AudioError, UsageError)):
            stream.push(wrong, rate)
    assert events + stream.push(sound[700:], 1000) + stream.flush() == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stream(LevelClassifier(), 401),
        lambda: Stream(LevelClassifier(), 0.5),
        lambda: Stream(LevelClassifier(), float("nan")),
        lambda: Stream(LevelClassifier(), rules=EventRules(deny=("nobody",))),
        lambda: Stream(LevelClassifier(), start=datetime(2026, 1, 1)),
        lambda: Stream(LevelClassifier()).skip(0, 1000),
        lambda: Rule(on=0),
        lambda: Rule(on=0.5, off=0.6),
        lambda: Rule(merge_gap_s=-1),
        lambda: Rule(smoothing_s=float("inf")),
        lambda: Rule(max_duration_s=1, min_duration_s=2),
        lambda: Rule(on="0.5"),
        lambda: Rule(on=True),
        lambda: Rule(merge_gap_s=None),
        lambda: Rule(max_duration_s=10**400),
        lambda: Rule(max_duration_s=1e10),
        lambda: Rule(refractory_s=1e10),
        lambda: EventRules(allow="dog"),
        lambda: EventRules(deny=(None,)),
        lambda: Stream(LevelClassifier(), rules=EventRules(allow=("on",), deny=("on",))),
        lambda: Stream("digits"),
        lambda: EventRules(per_label={"a": None}),
        lambda: EventRules(per_label=[("a", Rule())]),
        lambda: GateRules(floor_rise_s="1"),
        lambda: GateRules(min_level_dbfs=None),
        lambda: Stream(LevelClassifier(), "100"),
        lambda: Stream(LevelClassifier(), 1e308),
        lambda: Stream(LevelClassifier(), rules=Rule()),
        lambda: Stream(LevelClassifier(), gate=True),
        lambda: Stream(LevelClassifier(), start="2026-01-01"),
        lambda: Stream(LevelClassifier(), start=datetime.min.replace(tzinfo=EAST)),
        lambda: Stream(LevelClassifier()).skip("3", 1000),
        lambda: Stream(LevelClassifier()).skip(2.5, 1000),
        lambda: Stream(LevelClassifier()).skip(10**30, 1000),
    ],
)
def test_settings_that_mean_nothing_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()


def test_shipped_model_hears_by_the_public_names() -> None:
    with gmme_edge.load("digits", threads=1) as classifier:
        stream = gmme_edge.Stream(classifier, 500, gmme_edge.EventRules(on=0.2))
        stream.push((bursts(24_000) * 32767).astype(np.int16), 8000)
        stream.flush()
    assert stream.computed > 0


def test_streaming_parses_as_python_3_8() -> None:
    folder = Path(gmme_edge.__file__).parent / "runtime" / "streaming"
    for path in folder.glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
