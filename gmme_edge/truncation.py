"""Whether an audio file was cut short; libsndfile decodes what is left of most without a word."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

_STREAMING = 0x7FFF_F000  # sox, arecord and ffmpeg announce this or more when they write to a pipe
_LARGEST_OGG_PAGE = 65_307


class _Chunks(NamedTuple):
    first: int
    size_bytes: int
    order: Literal["little", "big"]
    alignment: int
    audio_id: bytes


_CHUNKED = {
    b"RIFF": _Chunks(12, 4, "little", 2, b"data"),
    b"FORM": _Chunks(12, 4, "big", 2, b"SSND"),
    b"caff": _Chunks(8, 8, "big", 1, b"data"),
}


def is_cut(path: Path) -> bool:
    """Whether the header of a WAV, RF64, W64, AIFF, CAF, AU or Ogg file announces more bytes.

    Sizes that recorders leave open are accepted, and so are missing bytes after the audio.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(40)
        magic = header[:4]
        if magic in _CHUNKED:
            return _audio_chunk_end(file, _CHUNKED[magic], size) > size
        if magic == b"OggS":
            return _last_page_end(file, size) > size
    if magic == b"RF64" and header[12:16] == b"ds64":
        return int.from_bytes(header[20:28], "little") + 8 > size
    if magic == b"riff":
        return int.from_bytes(header[16:24], "little") > size
    if magic == b".snd":
        length = int.from_bytes(header[8:12], "big")
        return length < _STREAMING and int.from_bytes(header[4:8], "big") + length > size
    return False


def _audio_chunk_end(file: BinaryIO, chunks: _Chunks, size: int) -> int:
    """Where the audio should end, in bytes from the file's start; 0 where that is left open."""
    position = chunks.first
    while position < size:
        file.seek(position)
        header = file.read(4 + chunks.size_bytes)
        length = int.from_bytes(header[4:], chunks.order)
        end = position + 4 + chunks.size_bytes + length
        if header[:4] == chunks.audio_id:
            return end if length < _STREAMING else 0
        position = end + -length % chunks.alignment
    return position  # cut before the audio began, if beyond the file's size


def _last_page_end(file: BinaryIO, size: int) -> int:
    """Where the last page of an Ogg stream should end (RFC 3533, section 6); 0 if unknown."""
    start = max(0, size - _LARGEST_OGG_PAGE)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS\0")
    if page < 0:
        return 0
    segments = tail[page + 26 : page + 27]
    lengths_at = page + 27
    count = segments[0] if segments else 1
    return start + lengths_at + count + sum(tail[lengths_at : lengths_at + count])
