"""Sockets, signals and slow clients: the application on uvicorn."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gmme_edge.errors import PlatformError
from gmme_edge.service.app import make_app
from gmme_edge.service.listener import Listener
from gmme_edge.workflows.settings.serving import ServeSettings

_SPARE_CONNECTIONS = 256  # beyond what is served at once: idle ones, and those being refused
_MESSAGE_BYTES = 1 << 20
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def serve(listener: Listener, settings: ServeSettings, on_start: Callable[[str], None]) -> None:
    """Answer until SIGINT or SIGTERM, then let what runs come to its end.

    Args:
        on_start: called with the address once clients are answered.

    Raises:
        PlatformError: the address cannot be listened on.
        InputError: the token's file holds none.
    """
    app = make_app(listener, settings.token(), settings.page)
    with listen_on(settings.host, settings.port) as (opened, address):
        server = Server(listener, app, settings.grace_s, partial(on_start, address))
        asyncio.run(server.serve([opened]))


@contextmanager
def listen_on(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens, and its address as clients write it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=512)
        # Connections inherit it; asyncio sets it only on sockets that name their protocol. Without
        # it an answer, whose head and body are two writes, waits 40 ms for an acknowledgement.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        raise PlatformError(
            f"{host} port {port} cannot be listened on: {error}.",
            "an address of this machine and a port that is free.",
            "choose with --host and --port; --port 0 takes a free one.",
        ) from error
    with opened:
        named = f"[{host}]" if ":" in host else host
        yield opened, f"http://{named}:{opened.getsockname()[1]}"


def _is_said(record: logging.LogRecord) -> bool:
    """Leave out uvicorn's error about each refused stream: the client has its answer by then."""
    return "without completing handshake" not in record.getMessage()


class Server(uvicorn.Server):
    """uvicorn, which tells streams to end before it ends their connections."""

    def __init__(
        self,
        listener: Listener,
        app: ASGIApp,
        grace_s: float,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._listener, self._on_start, self._grace_s = listener, on_start, grace_s
        limits = listener.limits
        most = limits.max_requests + limits.max_streams + _SPARE_CONNECTIONS
        config = uvicorn.Config(
            app,
            http=_protocol(limits.patience_s, most),
            ws="websockets-sansio",
            ws_max_size=_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # sound does not shrink, and bombs do not grow
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_is_said)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._listener.stopping.set()
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._streams_end(), self._grace_s)
        await super().shutdown(sockets)

    async def _streams_end(self) -> None:
        while self._listener.streams.used and not self.force_exit:
            await asyncio.sleep(0.02)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal ends the service, and that is a success: it is not raised again."""
        loop = asyncio.get_running_loop()
        numbers: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
        try:
            for number in numbers:
                loop.add_signal_handler(number, self.handle_exit, number, None)
        except (ValueError, RuntimeError, NotImplementedError):  # not the main thread
            numbers = ()
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def _protocol(patience_s: float, most_connections: int) -> type[H11Protocol]:
    """HTTP whose clients must send the head of a request within `patience_s`."""

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
            super().connection_made(transport)
            if len(self.connections) > most_connections:
                transport.abort()
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._unwatch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _watch(self) -> None:
            """Time the head of a request that has not come; once for all its bytes."""
            waits = self.cycle is None or self.cycle.response_complete
            if not waits or self.transport.get_protocol() is not self:
                self._unwatch()
            elif self._timer is None:
                self._timer = self.loop.call_later(patience_s, self._give_up)

        def _unwatch(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.write(_TOO_SLOW)
                self.transport.close()

    return Impatient
