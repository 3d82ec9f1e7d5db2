"""What is used of soundfile's reader; the library has no type stubs."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SoundFile(Protocol):
    """An open recording; `frames` is what its header announces."""

    channels: int
    format: str
    frames: int
    samplerate: int
    subtype: str

    def read(self, frames: int, *, dtype: str, always_2d: bool) -> NDArray[np.float32]: ...

    def seek(self, frames: int) -> int: ...

    def __enter__(self) -> SoundFile: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
