"""A classifier without a network, for the tests of what embeds one. Needs numpy only.

    heard = fake_classifier(["dog", "cat"], answers=["dog", "dog", "cat"])
    assert heard(sound, 16_000)[0].label == "dog"

It is a `Classifier` as any other: windows, resampling, silence, streams and errors are the real
ones. Only the network is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.manifest import Manifest
from gmme_edge.errors import UsageError, shorten
from gmme_edge.public import public
from gmme_edge.runtime.classifier import Classifier
from gmme_edge.runtime.session import Outputs, check_batch
from gmme_edge.spec import Task, preset

__all__ = ["FakeSession", "fake_classifier"]

Window = NDArray[np.float32]


class FakeSession:
    """Answers each window with a label; the interface is `gmme_edge.runtime.session.Session`.

    Attributes:
        windows: every window that it was given, in their order.
        closed: whether it was closed.
    """

    backend, precision = "fake", "fp32"

    def __init__(
        self,
        labels: Sequence[str],
        answer: Callable[[Window], str],
        n_samples: int,
        probability: float,
    ) -> None:
        self._labels, self._answer, self._n_samples = tuple(labels), answer, n_samples
        others = (1 - probability) / max(len(self._labels) - 1, 1)
        self._yes, self._no = np.log([probability, max(others, 1e-9)]).astype(np.float32)
        self.windows: list[Window] = []
        self.closed = False

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits``; there is no embedding."""
        if self.closed:
            raise UsageError("The session is closed.", "a session that is open.")
        batch = check_batch(waveform, self._n_samples)
        logits = np.full((len(batch), len(self._labels)), self._no, np.float32)
        for row, window in zip(logits, batch):  # noqa: B905 - equally many
            self.windows.append(window)
            label = self._answer(window)
            if label not in self._labels:
                raise UsageError(f"The fake answered {label!r}.", f"one of {self._labels}.")
            row[self._labels.index(label)] = self._yes
        return {"logits": logits}

    def close(self) -> None:
        self.closed = True


class FakeClassifier(Classifier):
    """A `Classifier` whose `session` tells a test what it heard."""

    def __init__(self, bundle: Bundle, session: FakeSession) -> None:
        super().__init__(bundle, session)
        self.session = session


@public
def fake_classifier(
    labels: Sequence[str],
    answers: Sequence[str] | Callable[[Window], str] | None = None,
    sample_rate_hz: int = 16_000,
    window_samples: int = 16_384,
    probability: float = 0.9,
) -> FakeClassifier:
    """A `Classifier` that answers what a test wants.

    Args:
        answers: the label of each window in turn, from the start again at the end; or a function
            from a window's samples to its label. Default the first label, always. Windows without
            sound are flagged as silent by the classifier itself, whatever the answer.
        window_samples: a multiple of 256, at least 8192.
        probability: of the label that is answered.

    Raises:
        UsageError: no labels, an answer that is none of them, or sizes that no network has.
    """
    if not labels or len(set(labels)) < len(labels):
        raise UsageError(f"The labels are {list(labels)}.", "at least one, each once.")
    if not 0 < probability <= 1:
        raise UsageError(f"The probability is {probability}.", "above 0, at most 1.")
    if answers is not None and not callable(answers) and not isinstance(answers, (list, tuple)):
        raise UsageError(f"The answers are {shorten(answers)}.", "a list of labels, or a function.")
    if callable(answers):
        answer = answers
    else:
        turn: Iterator[str] = cycle(answers or labels[:1])

        def answer(_: Window) -> str:
            return next(turn)

    spec = preset("eat-s-aa", Task("fake", sample_rate_hz, window_samples, (4, 4, 4), len(labels)))
    session = FakeSession(labels, answer, window_samples, float(probability))
    bundle = Bundle(Path("fake"), Manifest(spec, tuple(labels), untrained=True))
    return FakeClassifier(bundle, session)
