"""Data sets by name: what `--dataset`, `--data` and `--fold` mean.

A new data set is a module with a function that reads it, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gmme_edge.data import esc50, folder, urbansound8k
from gmme_edge.data.dataset import Dataset, LeftOut
from gmme_edge.data.manifest import load_manifest
from gmme_edge.data.speech_commands import load_speech_commands
from gmme_edge.errors import DatasetError, UsageError
from gmme_edge.observer import SILENT, Observer

_NAMED = 20  # files left out that are named one by one


@dataclass(frozen=True)
class Reader:
    """One row.

    Attributes:
        whole: reads a data set that brings its splits along.
        one_fold: reads one that is divided into so many `folds`, to test on one of them.
        task: whose sample rate and window its recordings have; "" where the user says so.
        division: the official one, which everybody who has the data set shares; "" where only the
            recordings themselves tell what a model was trained on.
    """

    whole: Callable[[Path], Dataset] | None = None
    one_fold: Callable[[Path, int], Dataset] | None = None
    folds: int = 0
    task: str = ""
    division: str = ""


_IN_FOLDS_OF_ESC50 = Reader(folds=esc50.FOLDS, task="esc50", division="esc50")
_READERS = {
    "esc50": replace(_IN_FOLDS_OF_ESC50, one_fold=esc50.load_esc50),
    "esc10": replace(_IN_FOLDS_OF_ESC50, one_fold=esc50.load_esc10),
    "urbansound8k": Reader(
        one_fold=urbansound8k.load_urbansound8k,
        folds=urbansound8k.FOLDS,
        task="urbansound8k",
        division="urbansound8k",
    ),
    "folder": Reader(folder.load_folder, folder.load_folder_fold, folder.FOLDS),
    "speech-commands": Reader(
        load_speech_commands, task="speech-commands", division="speech-commands"
    ),
    "csv": Reader(load_manifest),
}
DATASETS = tuple(_READERS)


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
    reader = _READERS[name]
    if fold is None and reader.whole:
        return reader.whole(root)
    folds = fold_count(name)
    if fold is None or not 1 <= fold <= folds:
        raise UsageError(
            f"{name} is tested fold by fold, and the fold is "
            f"{'not given' if fold is None else fold}.",
            f"the fold to test on, from 1 to {folds}; the others train.",
            "add --fold 1." if fold is None else "",
        )
    assert reader.one_fold is not None
    return reader.one_fold(root, fold)


def fold_count(name: str) -> int:
    """How many folds the data set `name` is divided into; `UsageError` where it has none."""
    folds = {each: reader.folds for each, reader in _READERS.items() if reader.folds}
    if name not in folds:
        raise UsageError(
            f"{name} has no folds.", f"one of {', '.join(folds)}.", "leave --fold or --folds out."
        )
    return folds[name]


def task_of(name: str) -> str:
    """The task whose audio format the data set `name` has; "" where it has none of its own."""
    return _READERS[name].task if name in _READERS else ""


def division_of(name: str) -> str:
    """The official division of the data set `name`, such as that of ESC-50; "" for none."""
    return _READERS[name].division if name in _READERS else ""
