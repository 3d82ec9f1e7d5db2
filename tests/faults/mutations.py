"""Every key of a JSON document removed, or given a value that nobody wrote; bytes that changed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Place = tuple[str | int, ...]
Content = str | bytes | Callable[[], bytes]  # the last where it is too large to be kept

_DEEP = "@deep@"  # nothing that `json.dumps` could write: 100,000 lists in each other
VALUES: dict[str, Any] = {
    "null": None, "true": True, "-1": -1, "0": 0, "2^31": 2**31, "10^30": 10**30, "1e308": 1e308,
    "0.5": 0.5, "NaN": float("nan"), "infinity": float("inf"), "no text": "", "text": "nonsense",
    "a surrogate": "\ud800", "escapes": "\x1b[31m[/red]", "a long text": "x" * 200_000,
    "a list": [], "an object": {}, "a list of null": [None], "deep": _DEEP,
    "an object of text": {"a": "b"},
}  # fmt: skip


def places(values: Any, inside: Place = ()) -> Iterator[Place]:  # noqa: ANN401 - JSON
    """Every key and every index of a document, from the outside in."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in pairs:
        yield (*inside, key)
        if isinstance(value, dict | list):
            yield from places(value, (*inside, key))


def mutated(
    values: dict[str, Any], rng: random.Random, per_place: int, skip: Callable[[Place], bool]
) -> Iterator[tuple[str, str]]:
    """What was done, and the document as text: each place removed, and some of `VALUES` put."""
    for place in places(values):
        if skip(place):
            continue
        name = ".".join(map(str, place))
        yield f"{name} absent", _dump(_changed(values, place, remove=True))
        for value in rng.sample(sorted(VALUES), per_place):
            yield f"{name} = {value}", _dump(_changed(values, place, VALUES[value]))
    yield "a new key", _dump({**values, "unheard_of": 1})


def broken_texts(text: str) -> dict[str, Content]:
    """What is no JSON, or none that ought to be read."""
    raw = text.encode()
    first = next(iter(json.loads(text)))
    twice = b"{" + json.dumps(first).encode() + b': "again",' + raw.lstrip()[1:]
    return {
        "empty": b"", "cut": raw[: len(raw) // 2], "a list": b"[]", "a number": b"1",
        "null": b"null", "deep": b"[" * 100_000, "deep objects": b'{"a":' * 100_000,
        "zeros": bytes(1000), "Latin-1": b'{"schema": 1, "x": "\xe9"}',
        "UTF-16": text.encode("utf-16"), "with a mark": b"\xef\xbb\xbf" + raw, "a key twice": twice,
        "twice": raw + raw, "5,000 digits": b'{"schema": ' + b"9" * 5000 + b"}",
        "huge exponent": b'{"schema": 1e999}',
        "60 MB of spaces": lambda: b" " * 60_000_000 + raw,
        "60 MB of text": lambda: b'{"x": "' + b"x" * 60_000_000 + b'",' + raw.lstrip()[1:],
        "2 million lists": lambda: b'{"x": [' + b"[]," * 2_000_000 + b"1]," + raw.lstrip()[1:],
    }  # fmt: skip


def broken_bytes(content: bytes, rng: random.Random) -> dict[str, bytes]:
    """A file that was cut, flipped, emptied or that grew."""
    size = len(content)
    changed = {f"cut to {n}": content[:n] for n in sorted({1, 8, 9, 100, size // 2, size - 1})}
    for at in sorted({0, 1, 7, 8, 20, *(rng.randrange(size) for _ in range(8))}):
        changed[f"byte {at} flipped"] = (
            content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
        )
    changed |= {"empty": b"", "zeros": bytes(size), "longer": content + b"\0", "noise":
                rng.randbytes(size), "text": b"not this\n", "twice": content * 2}  # fmt: skip
    return changed


def _changed(values: Any, place: Place, value: Any = None, remove: bool = False) -> Any:  # noqa: ANN401
    changed = copy.deepcopy(values)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if remove:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


def _dump(values: object) -> str:
    return json.dumps(values).replace(f'"{_DEEP}"', "[" * 20_000 + "]" * 20_000)


def write(path: Path, content: Content) -> None:
    content = content() if callable(content) else content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
