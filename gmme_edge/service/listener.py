"""The classifier of a service: its threads, its places, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from gmme_edge.audio import Recording
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.runtime.analysis import Analysis
from gmme_edge.runtime.backends import AUTO, open_session
from gmme_edge.runtime.choosing import choose_backend
from gmme_edge.runtime.classifier import Classifier
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.runtime.session import Session
from gmme_edge.service.batching import BatchingSession
from gmme_edge.service.limits import RateLimiter, Slots
from gmme_edge.service.metrics import Metrics
from gmme_edge.workflows.settings.running import BackendSettings
from gmme_edge.workflows.settings.serving import BatchSettings, LimitSettings

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Listener:
    """One network, for many clients at once. `close` it.

    Args:
        bundle: an opened bundle.
        session: one of its precisions, which the listener closes.
        backend_reason: why that backend, where ``auto`` chose it.

    Attributes:
        classifier: what hears; its calls of several threads share the network's runs.
        facts: which network that is and what runs it, as `/health` tells it.
        requests, streams: the places for them.
        stopping: set when the service ends; streams then end too.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: Session,
        batches: BatchSettings | None = None,
        limits: LimitSettings | None = None,
        backend_reason: str = "",
    ) -> None:
        batches, self.limits = batches or BatchSettings(), limits or LimitSettings()
        self.metrics = Metrics()
        self.requests = Slots(self.limits.max_requests, "requests")
        self.streams = Slots(self.limits.max_streams, "streams")
        self.rates = RateLimiter(self.limits.max_rate)
        self.stopping = asyncio.Event()
        self._working = 0
        if batches.max_batch > 1:
            session = BatchingSession(
                session,
                batches.max_batch,
                batches.max_wait_ms / 1000,
                lambda: self._working,
                self.metrics.batch_rows.observe,
            )
        self.classifier = Classifier(bundle, session)
        n_threads = self.limits.max_requests + self.limits.max_streams
        self._threads = ThreadPoolExecutor(n_threads, "gmme-edge-service")
        self.facts = {
            "model": bundle.manifest.model.name,
            "backend": session.backend,
            "backend_reason": backend_reason,
            "precision": session.precision,
            "sample_rate_hz": self.classifier.sample_rate_hz,
            "window_samples": self.classifier.window_samples,
            "labels": list(self.classifier.labels),
            "data_license": self.classifier.data_license,
        }
        silence = np.zeros(self.classifier.window_samples, np.float32)
        self.classifier.analyze(silence, self.classifier.sample_rate_hz)  # the first run is slow

    async def work(self, function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Call a function that uses the classifier, in another thread."""
        loop = asyncio.get_running_loop()
        self._working += 1
        try:
            return await loop.run_in_executor(self._threads, lambda: function(*arguments, **named))
        finally:
            self._working -= 1

    def hear(self, path: Path) -> Analysis:
        """A recording that a client sent, window by window.

        Raises:
            AudioError: see `gmme_edge.audio.Recording`.
        """
        rate_hz, longest_s = self.classifier.sample_rate_hz, self.limits.max_duration_s
        recording = Recording(path, rate_hz, name="The recording", longest_s=longest_s)
        analysis = self.classifier.analyze_recording(recording)
        self.metrics.audio_s.inc(analysis.duration_s)
        return analysis

    def close(self) -> None:
        self._threads.shutdown()
        self.classifier.close()


def open_listener(
    bundle: str | Path,
    network: BackendSettings | None = None,
    batches: BatchSettings | None = None,
    limits: LimitSettings | None = None,
    rebuild: Rebuild | None = None,
) -> Listener:
    """Open a bundle, as `gmme_edge.load` does, for many clients.

    Raises:
        BundleError, MissingDependencyError, PlatformError: as `gmme_edge.load` does.
    """
    opened, network = Bundle.open(bundle), network or BackendSettings()
    opened.warn_of_license()
    backend, why = network.backend, ""
    if backend == AUTO:
        backend, why, _ = choose_backend(opened, network.precision, network.threads, rebuild)
    chosen = network.precision or opened.recommended_precision(backend)
    session = open_session(opened, backend, chosen, network.threads, rebuild)
    return Listener(opened, session, batches, limits, why)
