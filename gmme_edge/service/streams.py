"""The WebSocket: PCM in, events out.

client  binary messages: samples as the query says, any number of whole ones
        {"kind": "gap", "lost_samples": n}   sound was lost here
        {"kind": "end"}                      the sound ends here
server  {"kind": "stream", …}    first: the rules, the grid, the gate
        {"kind": "event", …}     when an event ends;  {"kind": "gap", …} after a gap
        {"kind": "window", …}    the newest window's classes, where the query asks for them
        {"kind": "end", …}       last: what was heard;  {"kind": "error", "error": {…}} instead
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np
from anyio import fail_after
from starlette.websockets import WebSocket, WebSocketDisconnect

from gmme_edge.errors import AudioError, GmmeEdgeError, UsageError, translate
from gmme_edge.runtime.analysis import Prediction
from gmme_edge.runtime.streaming.stream import Stream
from gmme_edge.service.limits import RefusedError, check_token
from gmme_edge.service.listener import Listener
from gmme_edge.service.queries import StreamQuery, frame_bytes, parse_query
from gmme_edge.service.replies import describe_error, reply

PROTOCOL = "gmme-edge"
_BEARER = "bearer."  # browsers can send a token as the name of a protocol only
_ENDED, _GOING_AWAY, _VIOLATION = 1000, 1001, 1008


class _Command(msgspec.Struct):
    """A text message of a client."""

    kind: str
    lost_samples: int = 0


async def serve(socket: WebSocket, listener: Listener, token: str) -> None:
    """One stream, from its handshake to its end."""
    try:
        _check_origin(socket)
        check_token(_token_of(socket), token)
        listener.rates.check(socket.client.host if socket.client else "")
        with listener.streams.take(), listener.metrics.streams.track_inprogress():
            query = parse_query(socket.query_params, StreamQuery)
            stream = Stream(listener.classifier, query.hop_ms, query.rules(), query.gate_rules())
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            await _Conversation(socket, listener, stream, query).hold()
    except (WebSocketDisconnect, OSError):
        return
    except GmmeEdgeError as error:
        if isinstance(error, RefusedError):
            listener.metrics.refused.labels(error.reason).inc()
        await socket.send_denial_response(reply(error))


class _Conversation:
    """What goes to and fro on one open socket."""

    def __init__(
        self, socket: WebSocket, listener: Listener, stream: Stream, query: StreamQuery
    ) -> None:
        self._socket, self._listener = socket, listener
        self._stream, self._query = stream, query

    async def hold(self) -> None:
        """Until the client, the service or an error ends it."""
        try:
            await self._send(self._head())
            stopped = await self._hear_all()
            before = self._stream.windows
            await self._tell(await self._listener.work(self._stream.flush))
            await self._tell_window(before)
            await self._send(self._foot())
            await self._socket.close(_GOING_AWAY if stopped else _ENDED)
        except WebSocketDisconnect:
            raise
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            await self._send({"kind": "error", **describe_error(known)})
            await self._socket.close(_VIOLATION)

    async def _hear_all(self) -> bool:
        """Hear to the end of the sound; whether the service ended it."""
        stopping = asyncio.ensure_future(self._listener.stopping.wait())
        try:
            while (message := await self._receive(stopping)) is not None:
                if not await self._hear(message):
                    return False
            return True
        finally:
            stopping.cancel()

    async def _receive(self, stopping: asyncio.Future[Any]) -> bytes | str | None:
        """The next message; None where the service stops."""
        coming = asyncio.ensure_future(self._socket.receive())
        patience_s = self._listener.limits.patience_s
        try:
            await asyncio.wait(
                {coming, stopping}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if stopping.done():
                return None
            if not coming.done():
                got = f"The stream was silent for {patience_s:g} s."
                raise RefusedError(408, "slow", got, "sound, or its end.")
            message = coming.result()
        finally:
            coming.cancel()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data = message.get("bytes")
        return data if data is not None else str(message["text"])

    async def _hear(self, message: bytes | str) -> bool:
        """Take one message; False where it ends the sound."""
        work, rate_hz = self._listener.work, self._query.rate_hz
        if isinstance(message, bytes):
            before = self._stream.windows
            await self._tell(await work(self._stream.push, self._samples(message), rate_hz))
            await self._tell_window(before)
            return True
        command = _parse(message)
        if command.kind == "gap":
            await self._tell(await work(self._stream.skip, command.lost_samples, rate_hz))
        return command.kind != "end"

    def _samples(self, message: bytes) -> np.ndarray[Any, Any]:
        if len(message) % frame_bytes(self._query):
            raise AudioError(
                f"A message of {len(message)} bytes.", f"a multiple of {frame_bytes(self._query)}."
            )
        self._listener.metrics.audio_s.inc(
            len(message) / frame_bytes(self._query) / self._query.rate_hz
        )
        samples = np.frombuffer(message, np.dtype(self._query.sample_format).newbyteorder("<"))
        return samples.astype(self._query.sample_format).reshape(-1, self._query.channels)

    async def _tell(self, heard: list[Any]) -> None:
        for one in heard:
            await self._send(one.to_dict())
        self._listener.metrics.events.inc(len(heard))

    async def _tell_window(self, before: int) -> None:
        """The newest window's classes, where the query wants them and it is a new one."""
        if self._query.top and self._stream.windows > before:
            await self._send(self._window())

    async def _send(self, message: dict[str, Any]) -> None:
        """A client that does not read is one that went away."""
        try:
            with fail_after(self._listener.limits.patience_s):
                await self._socket.send_text(msgspec.json.encode(message).decode())
        except TimeoutError:
            raise WebSocketDisconnect(1006) from None

    def _head(self) -> dict[str, Any]:
        stream, gate = self._stream, self._stream.gate_rules
        return {
            "kind": "stream",
            **{k: v for k, v in self._listener.facts.items() if k != "labels"},
            "hop_us": stream.grid.hop_us,
            "rules": stream.rules.to_dict(),
            "gate": None if gate is None else gate.to_dict(),
        }

    def _window(self) -> dict[str, Any]:
        latest = self._stream.latest
        assert latest is not None
        best = np.argsort(-latest, kind="stable")[: self._query.top]
        found = [Prediction(self._stream.labels[i], float(latest[i])).to_dict() for i in best]
        return {"kind": "window", "end_s": self._stream.position_s, "predictions": found}

    def _foot(self) -> dict[str, Any]:
        stream = self._stream
        counts = {"windows": stream.windows, "computed": stream.computed}
        return {"kind": "end", "duration_s": stream.position_s, **counts}


def _parse(message: str) -> _Command:
    try:
        command = msgspec.json.decode(message, type=_Command)
    except msgspec.DecodeError as error:
        raise UsageError(f"A message cannot be read: {error}.", '{"kind": "end"}.') from error
    if command.kind not in ("end", "gap"):
        raise UsageError(f"A message of kind {command.kind!r:.40}.", "end or gap.")
    return command


def _token_of(socket: WebSocket) -> str:
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    named = [name for name in socket.scope["subprotocols"] if name.startswith(_BEARER)]
    return named[0][len(_BEARER) :] if named else ""


def _check_origin(socket: WebSocket) -> None:
    """A browser tells whose page opens the socket: only the service's own may."""
    origin, host = socket.headers.get("origin"), socket.headers.get("host", "")
    if origin is not None and origin.partition("://")[2] != host:
        raise RefusedError(403, "origin", f"A page of {origin!r:.80} opens it.", f"one of {host}.")
