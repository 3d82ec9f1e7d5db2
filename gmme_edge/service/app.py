"""Requests to answers: the service as an ASGI application, which any ASGI server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from gmme_edge.errors import GmmeEdgeError, UsageError, translate
from gmme_edge.runtime.analysis import Analysis
from gmme_edge.service import body, streams
from gmme_edge.service.limits import RefusedError, check_token
from gmme_edge.service.listener import Listener
from gmme_edge.service.observing import Observe
from gmme_edge.service.openapi import describe_service
from gmme_edge.service.queries import ClassifyQuery, SoundQuery, parse_query
from gmme_edge.service.replies import reply
from gmme_edge.workflows.predicting import describe_analysis

_Endpoint = Callable[[Request], Awaitable[Response]]
_Query = TypeVar("_Query", bound=SoundQuery)
_PAGE = files("gmme_edge.service") / "page"
_SHARED = files("gmme_exporters.web") / "site"  # one look, one way to the microphone
_PAGE_FILES = {
    "/": (_PAGE / "index.html", "text/html"),
    "/page.js": (_PAGE / "page.js", "text/javascript"),
    "/capture.js": (_SHARED / "capture.js", "text/javascript"),
    "/style.css": (_SHARED / "style.css", "text/css"),
}


def make_app(listener: Listener, token: str = "", page: bool = True) -> Starlette:
    """The service over one network.

    Args:
        token: what clients must send as ``Authorization: Bearer …``; empty: nothing. The page,
            `/health` and `/openapi.json` need none.
        page: whether ``/`` shows a page.
    """
    service = _Service(listener, token)
    shown = _PAGE_FILES if page else {}
    stream = partial(streams.serve, listener=listener, token=token)
    return Starlette(
        routes=[
            Route("/v1/classify", service.classify, methods=["POST"]),
            Route("/v1/embed", service.embed, methods=["POST"]),
            WebSocketRoute("/v1/stream", stream),
            Route("/v1/stream", _ask_to_upgrade),
            Route("/health", service.health),
            Route("/metrics", service.metrics),
            Route("/openapi.json", service.openapi),
            *(Route(path, _show(*facts)) for path, facts in shown.items()),
        ],
        middleware=[Middleware(Observe, metrics=listener.metrics)],
        exception_handlers={HTTPException: _explain, Exception: _fail},  # type: ignore[dict-item]
    )


class _Service:
    """The endpoints."""

    def __init__(self, listener: Listener, token: str) -> None:
        self._listener, self._token = listener, token

    async def classify(self, request: Request) -> Response:
        return await self._hear(
            request, ClassifyQuery, lambda found, query: describe_analysis(found, query.top)
        )

    async def embed(self, request: Request) -> Response:
        return await self._hear(request, SoundQuery, _describe_embedding)

    async def health(self, request: Request) -> Response:
        stopping = self._listener.stopping.is_set()
        state = {"status": "stopping" if stopping else "ok", **self._listener.facts}
        return JSONResponse(state, 503 if stopping else 200)

    async def metrics(self, request: Request) -> Response:
        try:
            check_token(_token_of(request), self._token)
        except RefusedError as error:
            return reply(error)
        text = self._listener.metrics.render()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(describe_service(bool(self._token)))

    async def _hear(
        self,
        request: Request,
        group: type[_Query],
        describe: Callable[[Analysis, _Query], dict[str, Any]],
    ) -> Response:
        try:
            return JSONResponse(await self._found(request, group, describe))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            if isinstance(known, RefusedError):
                self._listener.metrics.refused.labels(known.reason).inc()
            if not isinstance(known, RefusedError) or known.reason != "slow":
                await body.drain(request)
            return reply(known)

    async def _found(
        self,
        request: Request,
        group: type[_Query],
        describe: Callable[[Analysis, _Query], dict[str, Any]],
    ) -> dict[str, Any]:
        listener = self._listener
        check_token(_token_of(request), self._token)
        listener.rates.check(request.client.host if request.client else "")
        with listener.requests.take(), listener.metrics.busy.track_inprogress():
            query = parse_query(request.query_params, group)
            async with body.receive(request, query, listener.limits) as path:
                return describe(await listener.work(listener.hear, path), query)


def _describe_embedding(found: Analysis, query: SoundQuery) -> dict[str, Any]:
    return {
        "duration_s": found.duration_s,
        "silent": found.silent,
        "embedding": found.embedding.tolist(),
        "notes": list(found.notes),
    }


def _token_of(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _show(file: Any, media_type: str) -> _Endpoint:  # noqa: ANN401 - a file within a package
    content = file.read_bytes()

    async def show(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return show


async def _ask_to_upgrade(request: Request) -> Response:
    """A stream that was asked for as a page."""
    answer = reply(UsageError("A request for a stream over HTTP.", "a WebSocket."), 426)
    answer.headers.update({"connection": "upgrade", "upgrade": "websocket"})
    return answer


async def _explain(request: Request, error: HTTPException) -> Response:
    """Unknown paths and methods."""
    got = f"{request.method} {request.url.path!r:.100}: {error.detail}."
    answer = reply(UsageError(got, "what /openapi.json describes."), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _fail(request: Request, error: Exception) -> Response:
    """A bug: the server writes its traceback, the client learns no more than that."""
    return reply(GmmeEdgeError("The service failed."), 500)
