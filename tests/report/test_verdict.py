"""Which precision is chosen: by accuracy, by time, and in doubt the more exact one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from gmme_edge.errors import UsageError
from gmme_edge.report.render.terminal import verdict_table
from gmme_edge.report.verdict import Tried, Verdict, reach_verdict
from gmme_edge.scoring import Predictions, score
from tests.report.factory import row

N_CLIPS, REPETITIONS = 200, 60
PRECISIONS = ("fp32", "fp16", "int8-ort")
CLIPS = {"dataset": "words", "split": "validation", "fold": 2, "held_out_of_training": True}


def times(median_ms: float, spread: float = 0.01, seed: int = 0) -> np.ndarray:
    return median_ms * np.random.default_rng(seed).normal(1, spread, REPETITIONS)


def tried(precision: str, n_wrong: int, samples_ms: np.ndarray) -> Tried:
    predicted = np.zeros(N_CLIPS, np.int64)
    predicted[:n_wrong] = 1
    true = np.zeros(N_CLIPS, np.int64)
    names = np.array(("a", "b"))
    predictions = Predictions(
        tuple(f"{i}.wav" for i in range(N_CLIPS)), tuple(names[true]), tuple(names[predicted])
    )
    scored = replace(score(predicted, true, ("a", "b")), predictions=predictions)
    return Tried(scored, row(precision=precision, samples_ms=tuple(samples_ms)))


def judge(
    wrong: Sequence[int], samples: Sequence[np.ndarray], max_drop_points: float = 0.5
) -> Verdict:
    measured = [tried(*each) for each in zip(PRECISIONS, wrong, samples, strict=False)]
    return reach_verdict(measured, max_drop_points)


@pytest.mark.parametrize(
    ("medians", "wrong", "chosen", "reasons"),
    [
        ((10, 8, 5), (4, 4, 4), "int8-ort", ("fp16 is faster", "int8-ort is faster", "")),
        ((10, 12, 5), (4, 4, 5), "int8-ort", ("int8-ort is faster", "slower than fp32", "")),
        ((10, 8, 5), (4, 4, 6), "fp16", ("fp16 is faster", "", "loses 1.00 points")),
        ((10, 6, 8), (4, 4, 4), "fp16", ("fp16 is faster", "", "slower than fp16")),
        ((10, 12, 13), (4, 0, 4), "fp32", ("", "slower than fp32", "slower than fp32")),
    ],
)
def test_the_fastest_within_the_budget(
    medians: tuple[float, ...], wrong: tuple[int, ...], chosen: str, reasons: tuple[str, ...]
) -> None:
    samples = [times(median, seed=i) for i, median in enumerate(medians)]
    verdict = judge(wrong, samples)
    assert verdict.chosen.precision == chosen
    for each, reason in zip(verdict.tried, reasons, strict=True):
        assert "; ".join(each.reasons).startswith(reason) and bool(each.reasons) == bool(reason)


def test_slow_and_inaccurate_are_both_said() -> None:
    reasons = judge((4, 4, 10), [times(10), times(11), times(14)]).tried[2].reasons
    assert len(reasons) == 2 and reasons[0] == "loses 3.00 points, more than 0.5"
    assert reasons[1].startswith("slower than fp32: ×1.40 of its time")


def test_in_doubt_the_more_exact_one_stays() -> None:
    """Over 3 % less in the median, among samples that scatter by 30 %."""
    noisy = [times(10, 0.3, 1), times(9.2, 0.3, 2)]
    assert np.median(noisy[1]) < 0.97 * np.median(noisy[0])
    verdict = judge((4, 4), noisy)
    assert verdict.chosen.precision == "fp32"
    assert verdict.tried[1].reasons[0].startswith("not measurably faster than fp32")
    # 3 % in each repetition is certain, whatever the machine did between them.
    steady = judge((4, 4), [noisy[0], 0.97 * noisy[0]])
    assert steady.chosen.precision == "fp16"


@pytest.mark.parametrize(
    ("budget", "chosen"), [(0.5, "fp16"), (0.49, "fp32"), (float("nan"), "fp32")]
)
def test_a_loss_of_just_the_budget_is_allowed(budget: float, chosen: str) -> None:
    """One of 200 clips is half a point, also in binary fractions."""
    assert judge((4, 5), [times(10), times(5)], budget).chosen.precision == chosen


def test_no_verdict_without_fp32() -> None:
    with pytest.raises(UsageError, match="without FP32"):
        reach_verdict([tried("fp16", 0, times(1))], 0.5)
    with pytest.raises(UsageError, match="without FP32"):
        reach_verdict([], 0.5)


def test_everything_that_was_tried_is_described() -> None:
    samples = [times(10), times(8, seed=1), times(12, seed=2)]
    values = judge((4, 5, 3), samples).to_dict(CLIPS, {"cpu": "test"})
    assert (values["precision"], values["backend"], values["threads"]) == ("fp16", "ort-cpu", 1)
    assert values["clips"] == {**CLIPS, "n": N_CLIPS} and values["device"] == {"cpu": "test"}
    assert [each["recommended"] for each in values["tried"]] == [False, True, False]
    for each, wrong, drawn in zip(values["tried"], (4, 5, 3), samples, strict=True):
        assert each["accuracy"] == pytest.approx(1 - wrong / N_CLIPS)
        assert each["difference_points"] == pytest.approx((4 - wrong) / 2)
        assert each["flips"]["total"] == abs(wrong - 4)
        assert each["median_ms"] == pytest.approx(np.median(drawn))
        assert each["p90_ms"] == pytest.approx(np.percentile(drawn, 90))
        assert each["ratio_to_fp32"] == pytest.approx(np.median(np.divide(drawn, samples[0])))
        low, high = each["ratio_interval"]
        assert low <= each["ratio_to_fp32"] <= high

    console = Console(width=80, record=True)
    console.print(verdict_table(values))
    text = console.export_text()
    assert "fp16: recommended for ort-cpu" in text and "words fold 2" in text
    assert "These clips were trained on" in text and "int8-ort: slower than fp16" in text
    assert max(map(len, text.splitlines())) <= 80


def flipped(n_worse: int, n_better: int, n_otherwise_wrong: int = 0, n: int = 40) -> Verdict:
    """FP32, and a precision twice as fast of which so many labels are others."""
    true = np.zeros(n, np.int64)
    exact, rounded = true.copy(), true.copy()
    rounded[:n_worse] = 1
    exact[n_worse : n_worse + n_better] = 1
    wrong = slice(n_worse + n_better, n_worse + n_better + n_otherwise_wrong)
    exact[wrong], rounded[wrong] = 1, 2
    names, clips = ("a", "b", "c"), tuple(f"{i}.wav" for i in range(n))
    measured = []
    for precision, predicted, median_ms in (("fp32", exact, 10), ("int8-ort", rounded, 5)):
        told = Predictions(clips, ("a",) * n, tuple(names[i] for i in predicted))
        scored = replace(score(predicted, true, names), predictions=told)
        samples = tuple(times(median_ms))
        measured.append(Tried(scored, row(precision=precision, samples_ms=samples)))
    return reach_verdict(measured, 0.5)


def test_a_small_net_gain_of_many_flips_is_not_recommended() -> None:
    verdict = flipped(n_worse=2, n_better=3)  # 5 of 40 labels, +2.5 points
    assert verdict.chosen.precision == "fp32"
    (reason,) = verdict.tried[1].reasons
    assert reason.startswith("too few clips to tell") and "of 40 labels 5 changed" in reason
    assert flipped(0, 1, 4).chosen.precision == "fp32"


def test_what_is_recommended_says_its_flips_and_how_little_few_clips_tell() -> None:
    verdict = flipped(0, 0, 5)  # wrong before and after
    assert verdict.chosen.precision == "int8-ort"
    assert verdict.chosen.notes[0] == "5 of 40 labels are not fp32's"
    assert verdict.chosen.notes[1].startswith("too few clips to tell a loss of 0.5 points")
    console = Console(width=80, record=True)
    console.print(verdict_table(verdict.to_dict(CLIPS, {"cpu": "test"})))
    assert "note: 5 of 40 labels" in console.export_text()
    assert flipped(0, 0, n=400).chosen.notes == ()


def test_many_gains_are_a_gain() -> None:
    assert flipped(0, 12, n=200).chosen.precision == "int8-ort"
