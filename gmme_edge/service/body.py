"""What a request carries, as a recording on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from anyio import fail_after
from starlette.requests import ClientDisconnect, Request

from gmme_edge.errors import AudioError
from gmme_edge.service.limits import RefusedError
from gmme_edge.service.queries import SoundQuery, frame_bytes, wav_header
from gmme_edge.workflows.settings.serving import LimitSettings

_READ = "gmme_edge.body_was_read"
_DRAIN_S = 1.0


@asynccontextmanager
async def receive(
    request: Request, query: SoundQuery, limits: LimitSettings
) -> AsyncIterator[Path]:
    """The body as a file, which is gone afterwards; raw PCM becomes a WAV file.

    Raises:
        RefusedError: it is too large (413) or too slow (408).
        AudioError: no whole number of samples.
        ClientDisconnect: the client went away.
    """
    with tempfile.NamedTemporaryFile(prefix="gmme-edge-", suffix=".sound") as file:
        is_raw = query.rate_hz is not None
        if is_raw:
            file.write(wav_header(query, 0))
        try:
            with fail_after(limits.patience_s):
                size = await _write(request, file, int(limits.max_body_mb * 1e6))
        except TimeoutError:
            expected = f"all of it within {limits.patience_s:g} s."
            got = "The recording arrives too slowly."
            raise RefusedError(408, "slow", got, expected) from None
        if is_raw:
            _finish_wav(file, query, size)
        file.flush()
        yield Path(file.name)


async def _write(request: Request, file: IO[bytes], most: int) -> int:
    announced = request.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() else 0
    _check_size(size, most)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        _check_size(size, most)
        file.write(chunk)
    request.scope[_READ] = True
    return size


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RefusedError(
            413, "size", f"The recording has over {most / 1e6:g} MB.", f"at most {most / 1e6:g} MB."
        )


def _finish_wav(file: IO[bytes], query: SoundQuery, size: int) -> None:
    if size % frame_bytes(query):
        raise AudioError(
            f"The recording has {size} bytes.",
            f"a multiple of {frame_bytes(query)}: {query.channels} channels of "
            f"{query.sample_format}.",
        )
    file.seek(0)
    file.write(wav_header(query, size))


async def drain(request: Request) -> None:
    """Read on for a moment, so that a client that still sends comes to see why it was refused."""
    has_body = {"content-length", "transfer-encoding"} & set(request.headers)
    if request.scope.get(_READ) or not has_body or "expect" in request.headers:
        return
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        with fail_after(_DRAIN_S):
            async for _ in request.stream():
                pass
