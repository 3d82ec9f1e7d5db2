"""What a service counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()

        def named(name: str) -> str:
            return f"gmme_edge_{name}"

        self.requests = Counter(
            named("requests"), "Answers by path and status.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            named("request_seconds"),
            "From a request's headers to its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            named("refused"), "Requests that broke a limit.", ("reason",), registry=registry
        )
        self.batch_rows = Histogram(
            named("batch_windows"),
            "Windows of one run of the network.",
            buckets=_ROWS,
            registry=registry,
        )
        self.audio_s = Counter(named("audio_seconds"), "Sound that was heard.", registry=registry)
        self.events = Counter(named("events"), "Events of streams.", registry=registry)
        self.busy = Gauge(named("requests_in_progress"), "Requests now.", registry=registry)
        self.streams = Gauge(named("streams_in_progress"), "Streams now.", registry=registry)

    def render(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self._registry)
