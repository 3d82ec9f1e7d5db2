"""The clips that calibrate, decoded; drawn equally from every class, and within it every level."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Waveform, is_silent
from gmme_edge.data.dataset import Clip
from gmme_edge.data.levels import N_LEVELS, first_window, level_dbfs, level_edges
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import DatasetError
from gmme_edge.files import sha256_of


@dataclass(frozen=True, eq=False)
class Windows:
    """The first window of each of a store's recordings, read when it is asked for.

    What was read of the store's memory map is handed back at once: pages that were touched stay
    in the process's memory, 0.9 GB for 2,048 clips of ESC-50.
    """

    store: WaveformStore
    n_samples: int
    positions: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.n_samples

    @property
    def levels_dbfs(self) -> NDArray[np.float64]:
        return np.array([level_dbfs(self[i : i + 1]) for i in range(len(self))])

    def __getitem__(self, part: slice) -> Waveform:
        """Shape ``(clips, n_samples)``."""
        windows = [first_window(self.store, i, self.n_samples) for i in self.positions[part]]
        return np.stack(windows) if windows else np.zeros((0, self.n_samples), np.float32)


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """The clips that set the quantization ranges.

    Attributes:
        waveforms: shape ``(n, n_samples)``, the first window of each clip.
        clips: per clip its label, its file relative to the data set's folder, the SHA-256 of the
            file ("" for generated ones), its level and that level's stratum from 0, the faintest.
        edges_dbfs: the levels that divide the strata.
        left_out: of the data set, how much for each reason; see `gmme_edge.data.dataset`.
    """

    waveforms: Waveform | Windows
    clips: tuple[dict[str, Any], ...]
    source: str
    seed: int
    edges_dbfs: tuple[float, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_clips = len(self.waveforms)
        silent = sum(is_silent(self.waveforms[i : i + 1]) for i in range(n_clips))
        if n_clips == 0 or 2 * silent > n_clips:
            raise DatasetError(
                f"The calibration set of {self.source} is empty or silent: "
                f"{silent} of {n_clips} clips hold no sound.",
                "recordings like those that the model will hear, most of them with sound.",
            )

    @cached_property
    def sha256(self) -> str:
        """Of the waveforms themselves, so that it does not depend on file names."""
        digest = hashlib.sha256()
        for i in range(len(self.waveforms)):
            digest.update(np.ascontiguousarray(self.waveforms[i : i + 1]).tobytes())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "seed": self.seed,
            "selection": f"by class, within it by level (RMS, {N_LEVELS} quantiles)",
            "edges_dbfs": list(self.edges_dbfs),
            "n": len(self.waveforms),
            "sha256": self.sha256,
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
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
    return tuple(sorted(_deal(queues)[:size], key=lambda c: c.path))


def stratify(
    labels: Sequence[int], strata: Sequence[int], size: int, seed: int = 0
) -> tuple[int, ...]:
    """Positions of `size` clips, as many of each class, and within it of each stratum, as can be.

    A class falls behind another by more than one clip only where it is used up, and so does a
    stratum of a class. Every class begins with another stratum than the one before it, so that
    few clips of many classes cover the levels too.
    """
    rng = np.random.default_rng(seed)
    groups: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in rng.permutation(len(labels)):
        groups[labels[i]][strata[i]].append(int(i))
    queues = []
    for turn, label in enumerate(sorted(groups)):
        present = sorted(groups[label])
        first = turn % len(present)
        queues.append(_deal([groups[label][s] for s in present[first:] + present[:first]]))
    return tuple(sorted(_deal(queues)[:size]))


def _deal(queues: Sequence[Sequence[Any]]) -> list[Any]:
    """The first of every queue, then the second of every queue, and so on to the end."""
    rounds = range(max(map(len, queues), default=0))
    return [queue[i] for i in rounds for queue in queues if i < len(queue)]


def calibration_set(
    store: WaveformStore,
    labels: Sequence[str],
    n_samples: int,
    source: str,
    seed: int,
    size: int | None = None,
    root: Path | None = None,
) -> CalibrationSet:
    """The decoded clips of `store` as a calibration set, or `size` of them by class and level.

    Args:
        root: the folder that file names are relative to; if None, a name keeps its folder's.
    """
    every = Windows(store, n_samples, tuple(range(len(store))))
    levels = every.levels_dbfs
    edges, chosen = level_edges(levels), every
    if size is not None:
        strata = np.searchsorted(edges, levels, side="right").tolist()
        positions = stratify([int(label) for label in store.labels], strata, size, seed)
        chosen = Windows(store, n_samples, positions)
    return CalibrationSet(chosen, describe_clips(chosen, labels, root, edges), source, seed, edges)


def describe_clips(
    windows: Windows, labels: Sequence[str], root: Path | None, edges_dbfs: Sequence[float]
) -> tuple[dict[str, Any], ...]:
    """What `CalibrationSet.clips` says of each recording; `edges_dbfs` divide the strata."""
    store, levels = windows.store, windows.levels_dbfs
    strata = np.searchsorted(edges_dbfs, levels, side="right")
    return tuple(
        {
            "label": labels[int(store.labels[i])],
            "file": _name(store.paths[i], root),
            "sha256": sha256_of(store.paths[i]) if store.paths[i].is_file() else "",
            "level_dbfs": float(level),
            "stratum": int(stratum),
        }
        for i, level, stratum in zip(windows.positions, levels, strata, strict=True)
    )


def _name(path: Path, root: Path | None) -> str:
    if root is None:
        return f"{path.parent.name}/{path.name}"
    return Path(os.path.relpath(path, root)).as_posix()
