"""The interface as an OpenAPI 3.1 document, made of the groups and types that the code uses."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

from gmme_edge import __version__
from gmme_edge.fields import Count, Text
from gmme_edge.report.outputs import HeardWindow, LabelProbability
from gmme_edge.service.queries import ClassifyQuery, SoundQuery, StreamQuery, describe_query
from gmme_edge.settings import Settings


class _Sound(TypedDict):
    duration_s: float
    silent: bool
    notes: list[str]


class _Classified(_Sound):
    predictions: list[LabelProbability]


class Classified(_Classified, total=False):
    """Classes of a recording, best first; `windows` where it is longer than the network's."""

    windows: list[HeardWindow]


class Embedded(_Sound):
    """The network's view of a recording, as numbers that are alike for sounds that are alike."""

    embedding: list[float]


class Health(TypedDict):
    """Whether the service answers, and with what; the reason is empty where nobody chose.

    The licence of the training's recordings is empty where it is not stated.
    """

    status: Text
    model: Text
    backend: Text
    backend_reason: str
    precision: Text
    sample_rate_hz: Count
    window_samples: Count
    labels: list[str]
    data_license: str


class Told(TypedDict):
    """An error in three sentences."""

    kind: Text
    got: str
    expected: str
    fix: str


class Failure(TypedDict):
    """What was got, what was expected, and how to mend it."""

    error: Told


_TYPES = {"Classified": Classified, "Embedded": Embedded, "Health": Health, "Failure": Failure}
_REFUSALS = {
    "400": "The query cannot be read.",
    "401": "The token is missing or wrong.",
    "408": "The recording arrived too slowly.",
    "413": "The recording is too large or too long.",
    "422": "The recording cannot be heard.",
    "429": "Too many requests, at once or in a second.",
    "501": "A library that it needs is not installed.",
    "503": "The machine cannot run it now.",
}
_STREAM = (
    'A WebSocket. Send PCM as binary messages, `{"kind": "gap", "lost_samples": n}` where '
    'sound was lost, and `{"kind": "end"}` at its end. JSON messages come back, each with a '
    "`kind`: stream, event, gap, window, end, error. Browsers send the token as a second "
    "protocol, `bearer.TOKEN`, beside `gmme-edge`."
)


def describe_service(needs_token: bool) -> dict[str, Any]:
    """The document; `needs_token` says whether `/v1` and `/metrics` want one."""
    types, components = msgspec.json.schema_components(
        _TYPES.values(), ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip(_TYPES, types, strict=True))
    secured: dict[str, Any] = {"security": [{"bearer": []}]} if needs_token else {}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "gmme-edge", "version": __version__},
        "paths": {
            "/v1/classify": _post("Classes of a recording", ClassifyQuery, schemas["Classified"]),
            "/v1/embed": _post("The embedding of a recording", SoundQuery, schemas["Embedded"]),
            "/v1/stream": {
                "get": {
                    "summary": "Events in a sound that goes on",
                    "description": _STREAM,
                    "parameters": describe_query(StreamQuery),
                    "responses": {
                        "101": {"description": "The socket is open."},
                        "426": _failure("The request does not ask for a WebSocket."),
                        **_refusals(),
                    },
                }
            },
            "/health": {
                "get": {
                    "summary": "Whether it answers",
                    "responses": {
                        "200": _content("application/json", schemas["Health"]),
                        "503": {
                            **_content("application/json", schemas["Health"]),
                            "description": "It is being stopped.",
                        },
                    },
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Counts for Prometheus",
                    "responses": {
                        "200": _content("text/plain", {"type": "string"}),
                        "401": _failure(_REFUSALS["401"]),
                    },
                }
            },
        },
        "components": {"schemas": components},
    }
    for path in ("/v1/classify", "/v1/embed", "/v1/stream", "/metrics"):
        for operation in document["paths"][path].values():
            operation.update(secured)
    if needs_token:
        bearer = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"bearer": bearer}
    return document


def _post(summary: str, group: type[Settings], schema: dict[str, Any]) -> dict[str, Any]:
    binary: dict[str, Any] = {"schema": {}}
    return {
        "post": {
            "summary": summary,
            "parameters": describe_query(group),
            "requestBody": {
                "required": True,
                "description": "A file of any format that libsndfile reads, or raw PCM.",
                "content": {"audio/*": binary, "application/octet-stream": binary},
            },
            "responses": {"200": _content("application/json", schema), **_refusals()},
        }
    }


def _refusals() -> dict[str, Any]:
    return {status: _failure(told) for status, told in _REFUSALS.items()}


def _failure(told: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Failure"}
    return {**_content("application/json", schema), "description": told}


def _content(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "The answer.", "content": {media_type: {"schema": schema}}}
