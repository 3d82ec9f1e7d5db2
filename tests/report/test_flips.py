"""Label flips against counting them with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.errors import InputError
from gmme_edge.report.flips import Flips, count_flips
from gmme_edge.scoring import Predictions

LABELS = ("a", "b", "c")
answers = st.lists(
    st.tuples(*[st.integers(0, 2)] * 3, st.sampled_from(("0: silence", "1: x", "2: y"))), min_size=1
)


def predictions(true: np.ndarray, predicted: np.ndarray, levels: tuple[str, ...]) -> Predictions:
    names = np.array(LABELS)
    clips = tuple(f"{i}.wav" for i in range(len(true)))
    return Predictions(clips, tuple(names[true]), tuple(names[predicted]), levels)


def counted(true: np.ndarray, then: np.ndarray, now: np.ndarray) -> Flips:
    changed = then != now
    return Flips(
        len(true), int((changed & (then == true)).sum()), int((changed & (now == true)).sum()),
        int((changed & (then != true) & (now != true)).sum()),
    )  # fmt: skip


@given(answers, st.randoms(use_true_random=False))
def test_flips_by_class_and_level(rows: list[tuple[int, int, int, str]], random) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    true, then, now = (np.array([row[i] for row in rows]) for i in range(3))
    levels = tuple(row[3] for row in rows)
    other = predictions(true, now, levels)
    reference = predictions(true, then, ())
    order = list(range(len(rows)))
    random.shuffle(order)  # clips are matched by name, not by place
    shuffled = Predictions(
        *(tuple(column[i] for i in order) for column in
          (reference.clips, reference.true, reference.predicted))
    )  # fmt: skip
    report = count_flips(shuffled, other, LABELS, "fp32")
    assert report.all == counted(true, then, now)
    assert report.all.total == int((then != now).sum())
    for label, flips in report.per_class.items():
        part = true == LABELS.index(label)
        assert flips == counted(true[part], then[part], now[part])
    assert list(report.per_level) == sorted(set(levels))
    for level, flips in report.per_level.items():
        part = np.array(levels) == level
        assert flips == counted(true[part], then[part], now[part])
    accuracy = other.per_level()
    for level in report.per_level:
        part = np.array(levels) == level
        assert accuracy[level] == {"accuracy": np.mean((now == true)[part]), "n": part.sum()}


def test_other_clips_are_refused() -> None:
    first = Predictions(("a.wav",), ("a",), ("a",))
    with pytest.raises(InputError, match=r"such as a\.wav"):
        count_flips(first, Predictions(("b.wav",), ("a",), ("a",)), LABELS, "fp32")
    with pytest.raises(InputError, match="'b' in one file"):
        count_flips(first, Predictions(("a.wav",), ("b",), ("a",)), LABELS, "fp32")
