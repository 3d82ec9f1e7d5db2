"""The fake that users test with behaves as a classifier does."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gmme_edge.errors import AudioError, UsageError
from gmme_edge.testing import fake_classifier

WINDOW = 16_384


def noise(windows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, windows * WINDOW).astype(np.float32)


def test_it_answers_what_the_test_wants() -> None:
    with fake_classifier(["dog", "cat", "owl"], answers=["cat", "owl"]) as heard:
        first = heard(noise(1), 16_000)
        assert (first[0].label, len(first)) == ("cat", 3)
        assert first[0].probability == pytest.approx(0.9, abs=1e-5)
        assert heard(noise(1), 16_000)[0].label == "owl"
        assert heard(noise(1), 16_000)[0].label == "cat"
    assert heard.session.closed and len(heard.session.windows) == 3


def test_windows_rates_silence_and_errors_are_the_real_ones() -> None:
    heard = fake_classifier(
        ["low", "high"], answers=lambda window: "high" if window.max() > 1 else "low"
    )
    analysis = heard.analyze(noise(3), 16_000)
    assert len(analysis.starts_s) == len(heard.session.windows) == 3
    assert heard(np.zeros(WINDOW, np.float32), 16_000).silent
    assert asyncio.run(heard.aclassify(noise(1), 8_000))[0].label == "low"
    with pytest.raises(AudioError):
        heard(noise(1)[None], 16_000)


def test_function_answers_see_the_samples() -> None:
    heard = fake_classifier(["dog", "cat"], answers=lambda w: "cat" if w[0] == 0.25 else "dog")
    sound = noise(1)
    assert heard(sound, 16_000)[0].label == "dog"
    sound[0] = 0.25
    assert heard(sound, 16_000)[0].label == "cat"


@pytest.mark.parametrize(
    "wrong", [{"labels": []}, {"labels": ["a", "a"]}, {"labels": ["a"], "probability": 0.0}]
)
def test_what_no_classifier_has_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        fake_classifier(**wrong)  # type: ignore[arg-type]


def test_an_answer_that_is_no_label_is_an_error() -> None:
    with pytest.raises(UsageError, match="'cow'"):
        fake_classifier(["dog"], answers=["cow"])(noise(1), 16_000)
