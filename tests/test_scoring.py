"""Accuracy and its interval against hand-worked and brute-force values."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.data.store import WaveformStore, end_to_end
from gmme_edge.errors import InputError
from gmme_edge.evaluation import clip_names, predict_store, score_store
from gmme_edge.pooling import pool_windows, softmax
from gmme_edge.scoring import Predictions, paired_test, score
from gmme_edge.statistics import exact_interval, mcnemar_exact, t_interval, wilson_interval


def test_score_by_hand() -> None:
    result = score(np.array([0, 1, 1, 2, 0]), np.array([0, 1, 0, 2, 0]), ("a", "b", "c", "d"))
    assert (result.accuracy, result.n) == (0.8, 5)
    assert result.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert result.per_class["a"] == {"accuracy": 2 / 3, "n": 3}
    assert result.per_class["d"] == {"accuracy": None, "n": 0}
    written = json.loads(json.dumps(result.to_dict()))
    assert written["labels"] == ["a", "b", "c", "d"] and written["accuracy"] == 0.8


def test_no_clips() -> None:
    empty = np.array([], np.int64)
    assert (score(empty, empty, ("a",)).accuracy, wilson_interval(0, 0)) == (0.0, (0.0, 1.0))


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, Table I (method 3).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
     (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilson_interval_of_the_literature(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_solve_the_score_equation(counts: tuple[int, int]) -> None:
    """Each bound b, unless clipped, satisfies (p - b)² = z²·b·(1 - b)/n."""
    correct, n = counts
    p = correct / n
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= p + 1e-15 and p - 1e-15 <= high <= 1
    for bound in (low, high):
        assert (p - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / n, abs=1e-12)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    # By hand: 2·(1)/2⁵; 2·(1 + 6 + 15)/2⁶; 2·(1 + 10 + 45)/2¹⁰; equal counts and none give 1.
    [(0, 5, 0.0625), (4, 2, 0.6875), (2, 8, 0.109375), (7, 7, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar_exact(only_first, only_second) == pytest.approx(p, rel=1e-12)


def test_mcnemar_of_the_literature() -> None:
    """Agresti, Categorical Data Analysis, approval ratings: 150 and 86 who changed their mind."""
    z = (150 - 86) / math.sqrt(150 + 86)
    approximate = math.erfc(z / math.sqrt(2))
    assert mcnemar_exact(86, 150) == pytest.approx(approximate, rel=0.3)
    assert 2e-5 < mcnemar_exact(86, 150) < 5e-5


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_symmetric_and_a_probability(b: int, c: int) -> None:
    p = mcnemar_exact(b, c)
    assert 0 <= p == mcnemar_exact(c, b) <= 1
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    assert p == pytest.approx(min(1.0, 2 * tail / 2 ** (b + c)), rel=1e-12)


@pytest.mark.parametrize(
    ("df", "t"),
    # Any table of Student's t, two-sided 5 %.
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (30, 2.0423)],
)
def test_t_interval_of_the_tables(df: int, t: float) -> None:
    values = np.random.default_rng(df).normal(size=df + 1)
    interval = t_interval(values.tolist())
    assert interval is not None
    half = t * values.std(ddof=1) / math.sqrt(df + 1)
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-4 * half)


def test_t_interval_needs_two_values() -> None:
    assert t_interval([]) is None and t_interval([0.5]) is None
    assert t_interval([0.5, 0.5]) == (0.5, 0.5)


def predictions(right: str) -> Predictions:
    clips = tuple(f"{i}.wav" for i in range(len(right)))
    return Predictions(clips, ("a",) * len(right), tuple("a" if c == "+" else "b" for c in right))


def test_paired_test_by_hand() -> None:
    """10 clips, 1 the first alone has right and 4 the second; Bonett and Price's p̃ = 2/12, 5/12."""
    result = paired_test(predictions("+----+++++"), predictions("-+++++++++"))
    assert (result.n, result.only_first, result.only_second) == (10, 1, 4)
    assert result.difference == pytest.approx(0.3) and result.p_value == 0.375
    half = 1.959964 * math.sqrt((7 / 12 - (3 / 12) ** 2) / 12)
    assert result.interval == pytest.approx((3 / 12 - half, 3 / 12 + half))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_test_is_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (predictions("".join("+" if p[k] else "-" for p in pairs)) for k in (0, 1))
    there, back = paired_test(first, second), paired_test(second, first)
    assert there.difference == -back.difference and there.p_value == back.p_value
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert -1 <= there.interval[0] <= there.interval[1] <= 1


def test_predictions_of_other_clips_are_not_paired() -> None:
    with pytest.raises(InputError, match=r"2 and 3 clips.*2\.wav"):
        paired_test(predictions("++"), predictions("+++"))
    with pytest.raises(InputError, match="twice"):
        predictions("+") + predictions("+")


def test_clip_names_do_not_depend_on_the_place() -> None:
    paths = [Path("dog/1.wav"), Path("cat/1.wav")]
    assert clip_names(paths) == clip_names([Path("/far") / path for path in paths])
    assert clip_names(paths) == ("dog/1.wav", "cat/1.wav")
    assert clip_names([Path("a/b/1.wav")]) == ("1.wav",) and clip_names([]) == ()


def test_softmax_and_pooling() -> None:
    logits = np.array([[0.0, math.log(3.0)], [1000.0, 1000.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(pool_windows(logits), [0.375, 0.625], rtol=1e-6)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([1.0, 0.0], [0.25, 0.75]),  # silence does not vote
        ([1.0, 0.09], [0.25, 0.75]),  # nor the last moment of a sound
        ([0.02, 0.02], [0.375, 0.625]),  # of short sounds all do
        ([0.0, 0.0], [0.375, 0.625]),  # and so of silence alone
    ],
)
def test_windows_without_sound_do_not_vote(shares: list[float], expected: list[float]) -> None:
    logits = np.array([[0.0, math.log(3.0)], [1.0, 1.0]], np.float32)
    np.testing.assert_allclose(pool_windows(logits, np.array(shares)), expected, rtol=1e-6)


def test_predict_store_lets_silence_not_vote() -> None:
    """A clip of two windows: the first, of ones, is class 1; the second, of zeros, class 0."""
    store = replace(make_store([4, 8], [0, 1]), samples=np.array([0] * 4 + [1] * 4 + [0] * 4, "f4"))

    def predict(batch: np.ndarray) -> np.ndarray:
        return 9 * np.stack([1 - batch[:, 0], batch[:, 0]], axis=1)

    for batch_size in (1, 2, 3):
        found = predict_store(predict, store, 4, batch_size)
        np.testing.assert_allclose(found, softmax(np.array([[9.0, 0], [0, 9]])))


def make_store(lengths: list[int], labels: list[int]) -> WaveformStore:
    """Clip i holds the value i everywhere."""
    return WaveformStore(
        np.concatenate([np.full(n, i, np.float32) for i, n in enumerate(lengths)]),
        end_to_end(lengths), np.array(labels),
        tuple(Path(f"{i}.wav") for i in range(len(labels))), (), (),
    )  # fmt: skip


def test_predict_store_pools_windows_clip_by_clip() -> None:
    """Lengths make 1, 3, 1 and 2 windows; batches of any size give the clips' own results."""
    store = make_store([3, 9, 4, 5], [0, 1, 2, 0])
    seen: list[int] = []
    done: list[tuple[int, int]] = []

    def predict(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        index = batch[:, 0].astype(int)
        return np.where(index[:, None] == [0, 1, 2], 5.0, 0.0).astype(np.float32)

    expected = softmax(np.array([[5.0, 0, 0], [0, 5, 0], [0, 0, 5], [0, 0, 0]]))
    for batch_size, batches in ((1, [1] * 7), (4, [4, 3]), (99, [7])):
        seen.clear()
        done.clear()
        got = predict_store(predict, store, 4, batch_size, lambda *d: done.append(d))
        np.testing.assert_allclose(got, expected)
        assert seen == batches and done[-1] == (4, 4)
    result = score_store(predict, store, 4, ("a", "b", "c"))
    assert result.accuracy == 1.0  # clip 3 is a tie, which argmax gives to class 0
    assert result.predictions == Predictions(
        ("0.wav", "1.wav", "2.wav", "3.wav"), ("a", "b", "c", "a"), ("a", "b", "c", "a")
    )
    written = json.loads(json.dumps(result.to_dict()))
    assert Predictions.from_dict(written["predictions"]) == result.predictions
    assert "per_level" not in written and "levels" not in written["predictions"]
    levelled = score_store(predict, store, 4, ("a", "b", "c"), levels=("2", "1", "2", "2"))
    assert levelled.to_dict()["per_level"] == {
        "1": {"accuracy": 1.0, "n": 1}, "2": {"accuracy": 1.0, "n": 3}
    }  # fmt: skip
    written = json.loads(json.dumps(levelled.to_dict()))
    assert Predictions.from_dict(written["predictions"]) == levelled.predictions


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0, 0.3085), (2, 5, 0.0527, 0.8534), (5, 10, 0.1871, 0.8129), (1, 1, 0.025, 1)],
)
def test_clopper_and_pearsons_interval(hits: int, n: int, low: float, high: float) -> None:
    assert exact_interval(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_an_exact_interval_of_thousands_does_not_overflow() -> None:
    low, high = exact_interval(2000, 4000)
    assert (low, high) == pytest.approx(wilson_interval(2000, 4000), abs=1e-3)
