"""Accuracy and its interval against hand-worked and brute-force values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.data.store import WaveformStore
from gmme_edge.evaluation import predict_store, score_store
from gmme_edge.scoring import pool_windows, score, softmax, wilson_interval


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


def test_softmax_and_pooling() -> None:
    logits = np.array([[0.0, math.log(3.0)], [1000.0, 1000.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(pool_windows(logits), [0.375, 0.625], rtol=1e-6)


def make_store(lengths: list[int], labels: list[int]) -> WaveformStore:
    """Clip i holds the value i everywhere."""
    return WaveformStore(
        np.concatenate([np.full(n, i, np.float32) for i, n in enumerate(lengths)]),
        np.cumsum([0, *lengths]), np.array(labels), tuple(map(Path, map(str, labels))), (), (),
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
    for batch_size, batches in ((1, [1, 3, 1, 2]), (4, [4, 3]), (99, [7])):
        seen.clear()
        done.clear()
        got = predict_store(predict, store, 4, batch_size, lambda *d: done.append(d))
        np.testing.assert_allclose(got, expected)
        assert seen == batches and done[-1] == (4, 4)
    result = score_store(predict, store, 4, ("a", "b", "c"))
    assert result.accuracy == 1.0  # clip 3 is a tie, which argmax gives to class 0
