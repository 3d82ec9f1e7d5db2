"""Ogg: the links of a chained stream, and whether each was closed (RFC 3533)."""

from __future__ import annotations

import mmap
from typing import NamedTuple

from gmme_edge.audio.parts import Part

_BEGINS, _ENDS = 0x02, 0x04  # flags of a page: first and last of its logical stream
_HEADER = 27


class Links(NamedTuple):
    """The links of a stream; `cut` where one has no last page, or the file ends within a page."""

    parts: tuple[Part, ...]
    cut: bool


def find_links(data: mmap.mmap) -> Links:
    """Walk the pages. Streams that begin side by side are one link (RFC 3533, section 4)."""
    size, position = len(data), 0
    starts: list[int] = []
    open_streams: set[bytes] = set()
    cut = began = False
    while (position := data.find(b"OggS", position)) >= 0:
        if position + _HEADER > size:
            cut = True
            break
        flags, serial = data[position + 5], data[position + 14 : position + 18]
        count = data[position + 26]
        end = (
            position + _HEADER + count + sum(data[position + _HEADER : position + _HEADER + count])
        )
        if flags & _BEGINS:
            if not began:
                cut = cut or bool(open_streams)
                open_streams.clear()
                starts.append(position)
            open_streams.add(serial)
        began = bool(flags & _BEGINS)
        if flags & _ENDS:
            open_streams.discard(serial)
        cut = cut or end > size
        position = end
    ends = [*starts[1:], size]
    parts = tuple(Part(start, end) for start, end in zip(starts, ends))  # noqa: B905
    return Links(parts, cut or bool(open_streams))
