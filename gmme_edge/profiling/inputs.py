"""What a measurement feeds to a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, Bundle


def golden_batch(bundle: Bundle, batch: int) -> NDArray[np.float32]:
    """The bundle's golden waveforms, repeated in turn to ``(batch, n_samples)`` float32.

    Real recordings, not noise or zeros: denormals and saturated activations can change a
    kernel's speed.
    """
    golden = bundle.golden()[INPUT]
    return np.ascontiguousarray(golden[np.arange(batch) % len(golden)], dtype=np.float32)
