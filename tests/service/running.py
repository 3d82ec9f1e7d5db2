"""A service on a free port of this machine, in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.session import Outputs, Session
from gmme_edge.service.app import make_app
from gmme_edge.service.listener import Listener
from gmme_edge.service.server import Server, listen_on
from gmme_edge.workflows.settings.serving import BatchSettings, LimitSettings
from tests.bundles import make_bundle


class HeldSession:
    """Runs another session, once the test lets it."""

    is_concurrent = True

    def __init__(self, session: Session) -> None:
        self.backend, self.precision = session.backend, session.precision
        self._session = session
        self.free, self.entered = threading.Event(), threading.Event()
        self.free.set()

    def run(self, waveform: np.ndarray) -> Outputs:
        self.entered.set()
        assert self.free.wait(30)
        return self._session.run(waveform)

    def close(self) -> None:
        self._session.close()


@dataclass
class Running:
    """What a test talks to."""

    url: str
    client: httpx.Client
    listener: Listener
    server: Server
    session: HeldSession

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws") + "/v1/stream"

    def classify(self, content: bytes, query: str = "", **more: object) -> httpx.Response:
        return self.client.post(f"/v1/classify{query}", content=content, **more)  # type: ignore[arg-type]


@contextmanager
def running(
    folder: Path,
    limits: LimitSettings | None = None,
    batches: BatchSettings | None = None,
    token: str = "",
    grace_s: float = 10,
) -> Iterator[Running]:
    """A service over the tiny bundle, made in `folder`: 3 labels, windows of 8192 at 8 kHz."""
    bundle = make_bundle(folder)
    session = HeldSession(open_session(bundle, threads=1))
    listener = Listener(bundle, session, batches, limits or LimitSettings(max_rate=0))
    session.entered.clear()
    with listen_on("127.0.0.1", 0) as (opened, url):
        started = threading.Event()
        server = Server(listener, make_app(listener, token), grace_s, started.set)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([opened])))
        thread.start()
        assert started.wait(30)
        try:
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                yield Running(url, client, listener, server, session)
        finally:
            session.free.set()
            server.should_exit = True
            thread.join(30)
            listener.close()
        assert not thread.is_alive()
