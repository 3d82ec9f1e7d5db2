"""Data sets by name: what `--dataset`, `--data` and `--fold` mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gmme_edge.data import esc50, folder, urbansound8k
from gmme_edge.data.dataset import Dataset, LeftOut
from gmme_edge.data.manifest import load_manifest
from gmme_edge.data.speech_commands import load_speech_commands
from gmme_edge.errors import DatasetError, UsageError
from gmme_edge.observer import SILENT, Observer

_NAMED = 20  # files left out that are named one by one

_IN_FOLDS: dict[str, tuple[int, Callable[[Path, int], Dataset]]] = {
    "esc50": (esc50.FOLDS, esc50.load_esc50),
    "esc10": (esc50.FOLDS, esc50.load_esc10),
    "urbansound8k": (urbansound8k.FOLDS, urbansound8k.load_urbansound8k),
    "folder": (folder.FOLDS, folder.load_folder_fold),
}
_WHOLE: dict[str, Callable[[Path], Dataset]] = {
    "speech-commands": load_speech_commands,
    "folder": folder.load_folder,
    "csv": load_manifest,
}
DATASETS = tuple(dict.fromkeys((*_IN_FOLDS, *_WHOLE)))


def open_dataset(
    name: str, root: Path, fold: int | None = None, observer: Observer = SILENT
) -> Dataset:
    """Read a data set's lists and find its recordings; nothing is decoded.

    The observer is told what looks like a part of the data set and is left out.

    Args:
        name: one of `DATASETS`.
        root: the data set's folder; for ``csv`` the table itself.
        fold: the fold to test on, from 1, where the data set is published in folds; a choice for
            ``folder``.

    Raises:
        UsageError: an unknown name, or a fold missing, out of range or without meaning.
        DatasetError: a folder or table that is not as the data set's module describes it, or one
            with a single class.
    """
    dataset = _open(name, root, fold)
    if len(dataset.labels) < 2:
        raise DatasetError(
            f"{dataset.name} has one class, {', '.join(dataset.labels)}.",
            "at least two: a network learns to tell sounds apart.",
            "add recordings of something else, such as the usual background.",
        )
    tell_left_out(dataset.left_out, observer)
    return dataset


def tell_left_out(left_out: Sequence[LeftOut], observer: Observer) -> None:
    """Name the first of them, and count the rest."""
    for one in left_out[:_NAMED]:
        observer.note(f"left out: {one.path}: {one.reason}")
    if len(left_out) > _NAMED:
        observer.note(f"left out: {len(left_out) - _NAMED} more")


def _open(name: str, root: Path, fold: int | None) -> Dataset:
    if name not in DATASETS:
        raise UsageError(f"Unknown data set {name!r}.", f"one of {', '.join(DATASETS)}.")
    if fold is None and name in _WHOLE:
        return _WHOLE[name](root)
    folds = fold_count(name)
    if fold is None or not 1 <= fold <= folds:
        raise UsageError(
            f"{name} is tested fold by fold, and the fold is "
            f"{'not given' if fold is None else fold}.",
            f"the fold to test on, from 1 to {folds}; the others train.",
            "add --fold 1." if fold is None else "",
        )
    return _IN_FOLDS[name][1](root, fold)


def fold_count(name: str) -> int:
    """How many folds the data set `name` is divided into; `UsageError` where it has none."""
    if name not in _IN_FOLDS:
        raise UsageError(
            f"{name} has no folds.", f"one of {', '.join(_IN_FOLDS)}.", "leave the fold out."
        )
    return _IN_FOLDS[name][0]
