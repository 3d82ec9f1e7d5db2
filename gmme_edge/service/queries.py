"""What a request may ask for: groups of settings, read from the query of its address."""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
import numpy as np
from starlette.datastructures import QueryParams

from gmme_edge.errors import UsageError
from gmme_edge.runtime.streaming.chunks import MOST_CHANNELS
from gmme_edge.settings import Settings, flag_of, setting, settings_of
from gmme_edge.workflows.settings.listening import EventSettings

SAMPLE_FORMATS = ("int16", "int32", "float32")
_RATE = "Samples a second of raw PCM"
_FORMAT = "Type of raw PCM's samples, little-endian."
_CHANNELS = "Channels of raw PCM, interleaved."
_Group = TypeVar("_Group", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class SoundQuery(Settings):
    """How the body is to be read: as a file, or, where a rate is given, as raw PCM."""

    rate_hz: int | None = setting(
        None,
        f"{_RATE}; without it the body is a file, such as WAV or FLAC.",
        least=100,
        most=10_000_000,
    )
    sample_format: str = setting("int16", _FORMAT, choices=SAMPLE_FORMATS, needs="rate_hz")
    channels: int = setting(1, _CHANNELS, least=1, most=MOST_CHANNELS, needs="rate_hz")


@dataclass(frozen=True, kw_only=True)
class ClassifyQuery(SoundQuery):
    """What `/v1/classify` tells."""

    top: int = setting(5, "How many classes to tell.", least=1, most=10_000)


@dataclass(frozen=True, kw_only=True)
class StreamQuery(EventSettings):
    """What `/v1/stream` hears, and by which rules."""

    rate_hz: int = setting(MISSING, f"{_RATE}.", least=100, most=10_000_000)
    sample_format: str = setting("int16", _FORMAT, choices=SAMPLE_FORMATS)
    channels: int = setting(1, _CHANNELS, least=1, most=MOST_CHANNELS)
    top: int = setting(
        0,
        "Tell so many classes of the newest window after each message that completes one; 0: none.",
        least=0,
        most=10_000,
    )


def frame_bytes(query: SoundQuery | StreamQuery) -> int:
    """The size of one sample of all channels."""
    return query.channels * np.dtype(query.sample_format).itemsize


def wav_header(query: SoundQuery, n_bytes: int) -> bytes:
    """What makes a WAV file of `n_bytes` of raw PCM."""
    frame, rate_hz = frame_bytes(query), query.rate_hz or 0
    kind = 3 if query.sample_format == "float32" else 1
    facts = (kind, query.channels, rate_hz, rate_hz * frame, frame, 8 * frame // query.channels)
    return struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, *facts, b"data", n_bytes
    )


def parse_query(given: QueryParams, group: type[_Group]) -> _Group:
    """The group that a query describes.

    Raises:
        UsageError: an unknown name, a value of another kind or out of bounds, or one too few.
    """
    hints = get_type_hints(group)
    known = {each.name: each for each in settings_of(group)}
    for name in given:
        if name not in known:
            raise UsageError(f"The query has {name!r:.80}.", f"one of {', '.join(known)}.")
    values = {n: given.getlist(n) if is_list(hints[n]) else given[n] for n in given}
    try:
        return msgspec.convert(values, group, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"The query cannot be read: {error}.", "see /openapi.json.") from error
    except UsageError as error:
        raise UsageError(*(_plain(part, known) for part in (error.got, error.expected))) from error


def _plain(text: str, known: dict[str, dataclasses.Field[Any]]) -> str:
    """Names as the query has them, not as options of the command line."""
    for name, each in sorted(known.items(), key=lambda item: -len(item[0])):
        text = text.replace(flag_of(each), name)
    return text


def is_list(hint: object) -> bool:
    return hint == tuple[str, ...]


def describe_query(group: type[Settings]) -> list[dict[str, Any]]:
    """Its parameters, as OpenAPI has them."""
    hints = get_type_hints(group)
    return [_describe(each, hints[each.name]) for each in settings_of(group)]


def _describe(each: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:  # noqa: ANN401 - a type
    known = each.metadata["setting"]
    kinds = {int: "integer", float: "number", str: "string", bool: "boolean"}
    kind = next((kinds[part] for part in (hint, *get_args(hint)) if part in kinds), "string")
    schema: dict[str, Any] = {"type": kind}
    bounds = {"minimum": known.least, "maximum": known.most, "enum": list(known.choices) or None}
    schema.update({name: value for name, value in bounds.items() if value is not None})
    if is_list(hint):
        schema = {"type": "array", "items": schema}
    elif each.default not in (MISSING, None):
        schema["default"] = each.default
    return {
        "name": each.name,
        "in": "query",
        "required": each.default is MISSING,
        "description": known.help,
        "schema": schema,
    }
