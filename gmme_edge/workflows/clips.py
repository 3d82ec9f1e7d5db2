"""Clips of a data set, decoded under an observer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gmme_edge.data.dataset import Clip, Dataset
from gmme_edge.data.store import WaveformStore, load_waveforms
from gmme_edge.errors import DatasetError, UsageError
from gmme_edge.observer import SILENT, Observer
from gmme_edge.workflows.settings.clips import ClipSettings

_NAMED = 3  # silent recordings that are named one by one


def load_split(
    dataset: Dataset,
    split: str,
    sample_rate_hz: int,
    settings: ClipSettings,
    observer: Observer = SILENT,
) -> WaveformStore:
    """Decode one split: ``train``, ``validation`` or ``test``."""
    if split not in ("train", "validation", "test"):
        raise UsageError(f"Unknown split {split!r}.", "train, validation or test.")
    return load_clips(dataset.select(split), split, sample_rate_hz, settings, observer)  # type: ignore[arg-type]


def load_clips(
    clips: tuple[Clip, ...],
    what: str,
    sample_rate_hz: int,
    settings: ClipSettings,
    observer: Observer = SILENT,
) -> WaveformStore:
    """Decode `clips` (`what` they are, for messages); notes tell what was silent or skipped."""
    store = load_waveforms(
        clips,
        sample_rate_hz,
        settings.cache,
        settings.skip_bad,
        lambda done, total: observer.progress(f"decode {what}", done, total),
    )
    for path in store.silent[:_NAMED]:
        observer.note(f"note: {path} is silent")
    if len(store.silent) > _NAMED:
        observer.note(f"note: {len(store.silent)} {what} clips are silent")
    if store.skipped:
        observer.note(f"skipped {len(store.skipped)} unreadable {what} clips; the first:")
        observer.note("  " + store.skipped[0][1].splitlines()[0])
    return store


def tell_foreign(paths: Sequence[Path], observer: Observer) -> None:
    """Note which recordings of a folder are left out for their format."""
    for path in paths[:_NAMED]:
        observer.note(f"left out: {path}: {path.suffix} is no format of recordings")
    if len(paths) > _NAMED:
        observer.note(f"left out: {len(paths) - _NAMED} more")


def check_labels(dataset: str, have: tuple[str, ...], artifact: str, want: tuple[str, ...]) -> None:
    """Raise `DatasetError` where the classes of a data set are not those of a model."""
    if have != want:
        raise DatasetError(
            f"{dataset} has other classes than {artifact}: {_first_difference(have, want)}.",
            "the classes that the model was trained on, in the same order.",
        )


def _first_difference(have: tuple[str, ...], want: tuple[str, ...]) -> str:
    if len(have) != len(want):
        return f"{len(have)} classes, not {len(want)}"
    i = next(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
    return f"class {i} is {have[i]!r}, not {want[i]!r}"
