"""Errors as answers: a status, and the same three sentences as everywhere."""

from __future__ import annotations

from starlette.responses import JSONResponse

from gmme_edge.errors import (
    AudioLengthError,
    GmmeEdgeError,
    InputError,
    MissingDependencyError,
    PlatformError,
    UsageError,
)
from gmme_edge.service.limits import RefusedError

_STATUSES: tuple[tuple[type[GmmeEdgeError], int], ...] = (
    (AudioLengthError, 413),
    (InputError, 422),
    (UsageError, 400),
    (PlatformError, 503),
    (MissingDependencyError, 501),
)


def status_of(error: GmmeEdgeError) -> int:
    """The status that fits an error."""
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def describe_error(error: GmmeEdgeError) -> dict[str, dict[str, str]]:
    """An error as JSON values."""
    kind = type(error).__name__
    return {"error": {"kind": kind, "got": error.got, "expected": error.expected, "fix": error.fix}}


def reply(error: GmmeEdgeError, status: int | None = None) -> JSONResponse:
    """The answer to a request that failed."""
    headers = {}
    if isinstance(error, RefusedError):
        headers["connection"] = "close"  # whatever else the client sends stays unread
        if error.retry_s is not None:
            headers["retry-after"] = str(error.retry_s)
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
    return JSONResponse(describe_error(error), status or status_of(error), headers)
