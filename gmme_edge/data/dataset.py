"""A data set as the rest of the toolkit sees it: labelled clips, each in one split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gmme_edge.errors import DatasetError

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
        path: the audio file.
        label: index into the data set's labels.
        split: the part of the official division that it belongs to.
        group: recordings that share a source (one field recording cut into several clips) share
            this key, and must share a split; "" where the data set names no source.
    """

    path: Path
    label: int
    split: Split
    group: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that looks as if it belonged to the data set, and why it does not."""

    path: Path
    reason: str


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """What a result says of them: how many for each reason."""
    return dict(sorted(Counter(one.reason for one in left_out).items()))


@dataclass(frozen=True)
class Dataset:
    """Labels and clips of a data set in one division (a fold, or the official lists)."""

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        if not self.clips:
            raise DatasetError(f"{self.name} has no clips.", "at least one recording.")
        check_leakage(self.name, self.clips)

    def select(self, split: Split) -> tuple[Clip, ...]:
        """The clips of a split, sorted by path; raises `DatasetError` where there are none."""
        chosen = tuple(sorted((c for c in self.clips if c.split == split), key=lambda c: c.path))
        if not chosen:
            have = ", ".join(sorted({c.split for c in self.clips}))
            raise DatasetError(f"{self.name} has no {split} clips.", f"one of its splits: {have}.")
        return chosen

    def counts(self) -> dict[str, int]:
        return dict(Counter(clip.split for clip in self.clips))


def check_leakage(name: str, clips: Sequence[Clip]) -> None:
    """Refuse a file or a source recording that stands in more than one split."""
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip in clips:
        splits["file", str(clip.path)].add(clip.split)
        if clip.group:
            splits["source recording", clip.group].add(clip.split)
    leaks = [(key, found) for key, found in splits.items() if len(found) > 1]
    if leaks:
        (kind, key), found = leaks[0]
        raise DatasetError(
            f"{name} leaks: the {kind} {key} is in {', '.join(sorted(found))} ({len(leaks)} such).",
            "each recording, and all cuts of it, in one split only.",
            "use the official division, or put all of its cuts into one split.",
        )
