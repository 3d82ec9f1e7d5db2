"""The network in a worker, and what must not end with one recording."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import AudioError, BundleError, GmmeEdgeError
from gmme_edge.runtime.classifier import Classifier, open_classifier
from gmme_edge.workflows.archive.heard import Job

THREADS = 1
_Found = TypeVar("_Found")


@lru_cache(maxsize=1)
def open_network(job: Job) -> Classifier:
    """The network, opened once in each worker."""
    opened = Bundle.open(job.bundle)
    found = opened.find("model", job.precision).sha256
    if found != job.model_sha256:
        raise BundleError(
            f"{job.bundle} holds another {job.precision} network here.",
            f"SHA-256 {job.model_sha256[:16]}…, as where the scan was started.",
            "give every worker the same files.",
        )
    return open_classifier(opened, job.backend, job.precision, THREADS)


def isolate(work: Callable[[], _Found], failed: Callable[[str], _Found]) -> _Found:
    """What `work` gives, or what `failed` makes of the reason why a recording cannot be heard.

    Raises:
        GmmeEdgeError: the bundle, or a library that is missing here: no recording can be heard.
    """
    try:
        return work()
    except AudioError as error:
        return failed(str(error))
    except GmmeEdgeError:
        raise
    except Exception as error:  # a fault of ours must not cost the other recordings
        return failed(f"{type(error).__name__}: {error}")


class Tap:
    """A classifier whose embeddings are passed on while it is asked for probabilities."""

    def __init__(self, classifier: Any, keep: Callable[[NDArray[np.float32]], None]) -> None:  # noqa: ANN401 - what `analyze` has
        self._classifier, self._keep = classifier, keep
        self.labels, self.sample_rate_hz = classifier.labels, classifier.sample_rate_hz
        self.window_samples = classifier.window_samples

    def probabilities(self, waveform: Any, sample_rate_hz: int) -> NDArray[np.float64]:  # noqa: ANN401 - as the protocol
        found = self._classifier.analyze(waveform, sample_rate_hz)
        self._keep(found.embedding)
        return np.asarray(found.probabilities, np.float64)
