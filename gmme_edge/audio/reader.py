"""What is used of soundfile's reader; the library has no type stubs."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SoundFile(Protocol):
    """An open recording; `frames` is what its header announces."""

    channels: int
    frames: int
    samplerate: int

    def read(self, frames: int, *, dtype: str, always_2d: bool) -> NDArray[np.float32]: ...

    def __enter__(self) -> SoundFile: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
