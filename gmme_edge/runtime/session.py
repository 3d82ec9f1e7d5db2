"""What a backend must offer: a waveform batch in, named outputs out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError

Outputs = dict[str, NDArray[np.float32]]


class Session(Protocol):
    """One network on one engine, ready to run; not for use from several threads at once."""

    backend: str
    precision: str

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``."""
        ...

    def close(self) -> None:
        """Free the engine; the session cannot run afterwards."""
        ...


def check_batch(waveform: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """`waveform` as contiguous float32 ``(batch, n_samples)``.

    Raises:
        UsageError: another shape, or no clip at all.
    """
    if waveform.ndim != 2 or waveform.shape[1] != n_samples or len(waveform) == 0:
        raise UsageError(
            f"The session was given a batch of shape {waveform.shape}.",
            f"(batch, {n_samples}), batch at least 1.",
        )
    return np.ascontiguousarray(waveform, dtype=np.float32)


def __getattr__(name: str) -> object:  # until every caller names its new home
    from gmme_edge.runtime import backends

    return getattr(backends, name)
