"""Whether an audio file was cut short; libsndfile decodes what is left of most without a word.

Ogg and MPEG files have modules of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

MOST_CHUNKS = 100_000
_STREAMING = 0x7FFF_F000  # sox, arecord and ffmpeg announce this or more when they write to a pipe


class _Chunks(NamedTuple):
    first: int
    size_bytes: int
    order: Literal["little", "big"]
    alignment: int
    audio_id: bytes


_CHUNKED = {
    b"RIFF": _Chunks(12, 4, "little", 2, b"data"),
    b"RIFX": _Chunks(12, 4, "big", 2, b"data"),
    b"FORM": _Chunks(12, 4, "big", 2, b"SSND"),
    b"caff": _Chunks(8, 8, "big", 1, b"data"),
}

_AU: dict[bytes, Literal["little", "big"]] = {b".snd": "big", b"dns.": "little"}


def is_cut(path: Path) -> bool:
    """Whether the header of a WAV, RF64, W64, AIFF, CAF or AU file announces more bytes.

    Sizes that recorders leave open are accepted, and so are missing bytes after the audio.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(40)
        magic = header[:4]
        if magic in _CHUNKED:
            return _audio_chunk_end(file, _CHUNKED[magic], size) > size
    if magic == b"RF64" and header[12:16] == b"ds64":
        return int.from_bytes(header[20:28], "little") + 8 > size
    if magic == b"riff":
        return int.from_bytes(header[16:24], "little") > size
    if magic in _AU:
        offset, length = (int.from_bytes(header[i : i + 4], _AU[magic]) for i in (4, 8))
        return length < _STREAMING and offset + length > size
    return False


def _audio_chunk_end(file: BinaryIO, chunks: _Chunks, size: int) -> int:
    """Where the audio should end, in bytes from the file's start; 0 where that is left open."""
    position = chunks.first
    for _ in range(MOST_CHUNKS):
        if position >= size:
            return position  # cut before the audio began, if beyond the file's size
        file.seek(position)
        header = file.read(4 + chunks.size_bytes)
        length = int.from_bytes(header[4:], chunks.order)
        end = position + 4 + chunks.size_bytes + length
        if header[:4] == chunks.audio_id:
            return end if length < _STREAMING else 0
        position = end + -length % chunks.alignment
    return 0  # zeros look like empty chunks; the decoder tells what is wrong
