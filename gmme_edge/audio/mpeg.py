"""MPEG audio (MP3): counts the frames, because decoders believe a header or guess from the size.

A file without a Xing or Info frame says nothing about its length; libsndfile then assumes that all
frames are as long as the first. Here every frame is counted, and such a file gets an Info frame in
front of it on the way to the decoder. A file that was joined of several is decoded part by part.

Layout of a frame's header, 32 bits: ISO/IEC 11172-3, section 2.4.1.3; of the Info frame: the Xing
VBR header, which LAME writes too.
"""

from __future__ import annotations

import mmap
import re
from itertools import islice
from typing import NamedTuple

from gmme_edge.audio.parts import Part

_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBPS_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBPS_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_ROOMY = 9  # the bit rate of an own Info frame, whose tables' entry has room for it in every layer
_SEARCH_BYTES = 1 << 16  # how far from the start the first frame may be, behind tags
_SYNC = re.compile(rb"\xff(?=[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef])")  # of a frame's header
_MOST_TRIES = 1_000_000  # in what is neither frames nor a tag: seconds


class Frame(NamedTuple):
    version: int  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    layer: int
    rate_hz: int
    mono: bool
    size: int


class Stream(NamedTuple):
    """What was found; `cut` where a part has fewer frames than it announces, or a broken last one.

    `known` is whether every part announces how many frames it has.
    """

    parts: tuple[Part, ...]
    cut: bool
    known: bool


class _Counted(NamedTuple):
    start: int
    end: int
    first: Frame
    n_frames: int
    announced: int | None
    cut: bool


def parse_frame(header: bytes) -> Frame | None:
    """The four bytes of a frame's header; None where they are none, or of free format."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, bits, padding = header[2] >> 2 & 3, header[2] >> 4, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or not 0 < bits < 15:
        return None
    rate_hz = _RATES_HZ[version][rate]
    kbps = (_KBPS_1 if version == 3 else _KBPS_2)[layer][bits - 1]
    if layer == 1:
        size = (12_000 * kbps // rate_hz + padding) * 4
    else:
        size = (72_000 if layer == 3 and version != 3 else 144_000) * kbps // rate_hz + padding
    return Frame(version, layer, rate_hz, header[3] >> 6 == 3, size)


def find_stream(data: mmap.mmap) -> Stream | None:
    """The parts of an MP3 file, or None where no frames are found that follow each other."""
    position = _next_frame(data, _behind_tag(data, 0), _SEARCH_BYTES)
    counted: list[_Counted] = []
    while position is not None:
        part = _count(data, position)
        counted.append(part)
        position = _next_frame(data, part.end, len(data))
    if not counted:
        return None
    parts = tuple(_as_part(data, part) for part in counted)
    known = all(part.announced is not None for part in counted)
    return Stream(parts, any(part.cut for part in counted), known)


def _behind_tag(data: mmap.mmap, position: int) -> int:
    """Behind the ID3v2 tag that begins at `position`, if one does."""
    if data[position : position + 3] != b"ID3" or position + 10 > len(data):
        return position
    a, b, c, d = data[position + 6 : position + 10]
    footer = 10 if data[position + 5] & 0x10 else 0
    return position + 10 + (a << 21 | b << 14 | c << 7 | d) + footer


def _next_frame(data: mmap.mmap, position: int, within: int) -> int | None:
    """The next frame that another one of its kind follows, or that ends with the file."""
    last = min(len(data) - 4, position + within)
    for found in islice(_SYNC.finditer(data, position, last + 3), _MOST_TRIES):
        frame = parse_frame(data[found.start() : found.start() + 4])
        if frame is not None:
            end = found.start() + frame.size
            follower = parse_frame(data[end : end + 4])
            if end == len(data) or (follower is not None and _alike(frame, follower)):
                return found.start()
    return None


def _alike(a: Frame, b: Frame) -> bool:
    return (a.version, a.layer, a.rate_hz) == (b.version, b.layer, b.rate_hz)


def _count(data: mmap.mmap, start: int) -> _Counted:
    """Frames from `start` until another part begins, something else follows, or the file ends."""
    first = parse_frame(data[start : start + 4])
    assert first is not None  # `_next_frame` found it
    announced = _announced(data, start, first)
    position, n_frames = start + first.size, 0 if announced is not None else 1
    while (frame := parse_frame(data[position : position + 4])) is not None and _alike(
        first, frame
    ):
        if _announced(data, position, frame) is not None:
            break
        position += frame.size
        n_frames += 1
    broken = position > len(data)
    fewer = announced is not None and announced > 0 and n_frames < announced - 1
    end = min(position, len(data))
    return _Counted(start, end, first, n_frames, announced, broken or fewer)


def _announced(data: mmap.mmap, position: int, frame: Frame) -> int | None:
    """The frame count of a Xing or Info frame, 0 where it has none; None for any other frame."""
    at = position + _tag_offset(frame)
    if frame.layer != 3 or data[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(data[at + 4 : at + 8], "big")
    return int.from_bytes(data[at + 8 : at + 12], "big") if flags & 1 else 0


def _tag_offset(frame: Frame) -> int:
    if frame.version == 3:
        return 4 + (17 if frame.mono else 32)
    return 4 + (9 if frame.mono else 17)


def _as_part(data: mmap.mmap, part: _Counted) -> Part:
    """With an Info frame of our own where the file has none; other layers have no such thing."""
    if part.announced or part.first.layer != 3:
        return Part(part.start, part.end, exact=bool(part.announced))
    header = bytearray(data[part.start : part.start + 4])
    header[1] |= 1  # no checksum
    header[2] = _ROOMY << 4 | header[2] & 0x0C
    frame = parse_frame(bytes(header))
    assert frame is not None
    at = _tag_offset(frame)
    info = bytearray(frame.size)
    info[:4] = header
    info[at : at + 8] = b"Info" + (1).to_bytes(4, "big")
    info[at + 8 : at + 12] = part.n_frames.to_bytes(4, "big")
    start = part.start if part.announced is None else part.start + part.first.size
    return Part(start, part.end, bytes(info), exact=False)
