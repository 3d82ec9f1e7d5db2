"""A file that holds several recordings end to end, each as a file of its own to a decoder."""

from __future__ import annotations

import io
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Bytes `start` to `end` of a file, behind a `head` that its writer left out.

    Attributes:
        exact: the container says how many samples it holds, so fewer decoded ones mean a cut.
    """

    start: int
    end: int
    head: bytes = b""
    exact: bool = True


class PartReader(io.RawIOBase):
    """A `Part` of `data` as a file; nothing is copied but what is read."""

    def __init__(self, data: memoryview, part: Part) -> None:
        self._data, self._part, self._position = data, part, 0
        self._size = len(part.head) + part.end - part.start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        head = self._part.head[self._position : self._position + len(view)]
        view[: len(head)] = head
        start = self._part.start + max(0, self._position - len(self._part.head))
        rest = self._data[start : min(self._part.end, start + len(view) - len(head))]
        view[len(head) : len(head) + len(rest)] = rest
        self._position += len(head) + len(rest)
        return len(head) + len(rest)
