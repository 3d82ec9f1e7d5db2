"""Which clips calibrate: a seeded sample of training clips, equally many of each class."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmme_edge.audio import Waveform, is_silent, split_windows
from gmme_edge.data.dataset import Clip
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import DatasetError
from gmme_edge.files import sha256_of


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """The clips that set the quantization ranges.

    Attributes:
        waveforms: shape ``(n, n_samples)``, the first window of each clip.
        clips: per clip its label, file name and the SHA-256 of the file; "" for generated ones.
    """

    waveforms: Waveform
    clips: tuple[dict[str, str], ...]
    source: str
    seed: int

    def __post_init__(self) -> None:
        if len(self.waveforms) == 0 or is_silent(self.waveforms):
            raise DatasetError(
                f"The calibration set of {self.source} is empty or silent.",
                "recordings like those that the model will hear.",
            )

    @property
    def sha256(self) -> str:
        """Of the waveforms themselves, so that it does not depend on file names."""
        return hashlib.sha256(np.ascontiguousarray(self.waveforms).tobytes()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "seed": self.seed,
            "n": len(self.waveforms),
            "sha256": self.sha256,
            "clips": list(self.clips),
        }


def sample_clips(clips: Sequence[Clip], size: int, seed: int = 0) -> tuple[Clip, ...]:
    """`size` clips, shared out equally among the classes; all of them if there are fewer."""
    rng = np.random.default_rng(seed)
    by_class: dict[int, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda c: c.path):
        by_class[clip.label].append(clip)
    queues = [
        [group[i] for i in rng.permutation(len(group))] for _, group in sorted(by_class.items())
    ]
    rounds = range(max(map(len, queues), default=0))
    dealt = [queue[i] for i in rounds for queue in queues if i < len(queue)]
    return tuple(sorted(dealt[:size], key=lambda c: c.path))


def calibration_set(
    store: WaveformStore, labels: Sequence[str], n_samples: int, source: str, seed: int
) -> CalibrationSet:
    """The decoded clips of `store` as a calibration set."""
    windows = [split_windows(store.waveform(i), n_samples)[0] for i in range(len(store))]
    clips = tuple(
        {
            "label": labels[int(label)],
            "file": f"{path.parent.name}/{path.name}",
            "sha256": sha256_of(path) if path.is_file() else "",
        }
        for path, label in zip(store.paths, store.labels, strict=True)
    )
    return CalibrationSet(np.stack(windows), clips, source, seed)
