"""A user's own recordings, one folder per class, with or without a division of their own.

Either a division that the user made::

    train/dog/a.wav …   validation/dog/b.wav … (or val/)   test/dog/c.wav …

or classes alone, which are divided 80/10/10, or into five folds where a fold is asked for::

    dog/a.wav …   cat/b.wav …
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gmme_edge.audio import AUDIO_SUFFIXES
from gmme_edge.data.dataset import Clip, Dataset, Split
from gmme_edge.data.tables import check_folder
from gmme_edge.errors import DatasetError
from gmme_edge.files import sha256_of

FOLDS = 5
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
_LAYOUTS = "ROOT/class/recordings, or ROOT/train/class/recordings with validation and test alike."


def load_folder(root: Path) -> Dataset:
    """The recordings under `root`; labels are the classes' folder names, sorted.

    Raises:
        DatasetError: no class, an empty class, a class that only appears outside train, fewer
            than three recordings of a class that is to be divided, or the same content in two
            splits.
    """
    check_folder(root, "a folder of recordings per class")
    folders = class_folders(root)
    divided = all(folder.name in SPLIT_NAMES for folder in folders)
    labels, clips = _read_splits(root, folders) if divided else _collect(folders, _assign)
    refuse_copies(str(root), clips)
    return Dataset(root.resolve().name, labels, clips)


def load_folder_fold(root: Path, fold: int) -> Dataset:
    """As `load_folder`, but test on fold `fold` (1 to 5) and train on the other four.

    Each recording is tested in one fold, so a few recordings give the best figure they can.

    Raises:
        DatasetError: as `load_folder`; fewer than five recordings of a class; or a division of
            the user's own.
    """
    check_folder(root, "a folder of recordings per class")
    folders = class_folders(root)
    if all(folder.name in SPLIT_NAMES for folder in folders):
        raise DatasetError(
            f"{root} is divided by its folders {', '.join(f.name for f in folders)}, and fold "
            f"{fold} is given.",
            "a folder per class for a division into folds.",
            "leave --fold out, or put each class's recordings into one folder.",
        )
    labels, clips = _collect(folders, lambda folder: _assign_fold(folder, fold))
    refuse_copies(str(root), clips)
    return Dataset(f"{root.resolve().name} fold {fold}", labels, clips)


def class_folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted by name, without hidden ones and ones such as ``_noise_``."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
    if not folders:
        raise DatasetError(f"{root} holds no folders of classes.", _LAYOUTS)
    return folders


def recordings_in(folder: Path) -> list[Path]:
    """The audio files in a class's folder, sorted by name; raises `DatasetError` if none."""
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not found:
        raise DatasetError(
            f"{folder} holds no recordings.",
            f"files that end in {', '.join(sorted(AUDIO_SUFFIXES))}; {_LAYOUTS}",
            "add recordings of this class, or remove its folder.",
        )
    return found


def refuse_copies(name: str, clips: Sequence[Clip]) -> None:
    """Raise `DatasetError` where files of two splits have the same content."""
    by_size: dict[int, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_size[clip.path.stat().st_size].append(clip)
    for same_size in by_size.values():
        if len({clip.split for clip in same_size}) < 2:
            continue
        first: dict[str, Clip] = {}
        for clip in same_size:
            other = first.setdefault(sha256_of(clip.path), clip)
            if other.split != clip.split:
                raise DatasetError(
                    f"{name} leaks: {other.path} ({other.split}) and {clip.path} ({clip.split}) "
                    "have the same content.",
                    "each recording in one split only.",
                    "delete one of the two.",
                )


def _read_splits(root: Path, folders: Sequence[Path]) -> tuple[tuple[str, ...], tuple[Clip, ...]]:
    splits = [SPLIT_NAMES[folder.name] for folder in folders]
    if len(set(splits)) < len(splits):
        raise DatasetError(f"{root} holds both val and validation.", "one of them.")
    if "train" not in splits:
        raise DatasetError(f"{root} has no train folder beside {folders[0].name}.", _LAYOUTS)
    classes = {split: class_folders(folder) for split, folder in zip(splits, folders, strict=True)}
    labels = tuple(folder.name for folder in classes["train"])
    clips = []
    for split, found in classes.items():
        for folder in found:
            if folder.name not in labels:
                raise DatasetError(
                    f"{folder} is a class without a folder in {root / 'train'}.",
                    f"one of the classes to learn: {', '.join(labels)}.",
                    "correct the folder's name, or add recordings to train.",
                )
            label = labels.index(folder.name)
            clips += [Clip(path, label, split) for path in recordings_in(folder)]
    return labels, tuple(clips)


def _collect(
    folders: Sequence[Path], assign: Callable[[Path], Iterator[tuple[Path, Split]]]
) -> tuple[tuple[str, ...], tuple[Clip, ...]]:
    clips = [
        Clip(path, label, split)
        for label, folder in enumerate(folders)
        for path, split in assign(folder)
    ]
    return tuple(folder.name for folder in folders), tuple(clips)


def _assign(folder: Path) -> Iterator[tuple[Path, Split]]:
    """Divide one class 80/10/10."""
    paths = _shuffled(folder, 3, "one for each of train, validation and test")
    tenth = max(1, (len(paths) + 5) // 10)
    for index, path in enumerate(paths):
        yield path, "test" if index < tenth else "validation" if index < 2 * tenth else "train"


def _assign_fold(folder: Path, fold: int) -> Iterator[tuple[Path, Split]]:
    """Every fifth recording of one class tests."""
    for index, path in enumerate(_shuffled(folder, FOLDS, "one for each fold")):
        yield path, "test" if index % FOLDS == fold - 1 else "train"


def _shuffled(folder: Path, least: int, why: str) -> list[Path]:
    """A class's recordings in the order of a hash of their names, the same on any machine."""
    paths = sorted(recordings_in(folder), key=_name_hash)
    if len(paths) < least:
        raise DatasetError(
            f"{folder} holds {len(paths)} recordings.",
            f"at least {least} of each class, {why}.",
            "add recordings, or divide them yourself into train/, validation/ and test/.",
        )
    return paths


def _name_hash(path: Path) -> bytes:
    # macOS hands out decomposed names and Linux composed ones: hash one form of them.
    name = unicodedata.normalize("NFC", path.name)
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()
