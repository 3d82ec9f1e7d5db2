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
from dataclasses import dataclass
from pathlib import Path

from gmme_edge.audio import AUDIO_SUFFIXES
from gmme_edge.data.dataset import Clip, Dataset, LeftOut, Split
from gmme_edge.data.tables import check_folder
from gmme_edge.errors import DatasetError
from gmme_edge.files import sha256_of

FOLDS = 5
BACKGROUND_NOISE = "_background_noise_"
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
        DatasetError: no class, an empty class, a class that only appears outside train, fewer than
            three recordings of a class that is to be divided, or the same content in two splits.
    """
    found = scan(root, "a folder of recordings per class")
    if found.divided:
        return _read_splits(root, found)
    clips = _collect(found, _assign)
    refuse_copies(str(root), clips)
    return Dataset(root.resolve().name, found.labels, clips, found.left_out)


def load_folder_fold(root: Path, fold: int) -> Dataset:
    """As `load_folder`, but test on fold `fold` (1 to 5) and train on the other four.

    Each recording is tested in one fold, so a few recordings give the best figure they can.

    Raises:
        DatasetError: as `load_folder`; fewer than five recordings of a class; or a division of
            the user's own.
    """
    found = scan(root, "a folder of recordings per class")
    if found.divided:
        names = ", ".join(folder.name for folder in found.classes)
        raise DatasetError(
            f"{root} is divided by its folders {names}, and fold {fold} is given.",
            "a folder per class for a division into folds.",
            "leave --fold out, or put each class's recordings into one folder.",
        )
    clips = _collect(found, lambda folder, paths: _assign_fold(folder, paths, fold))
    refuse_copies(str(root), clips)
    return Dataset(f"{root.resolve().name} fold {fold}", found.labels, clips, found.left_out)


@dataclass(frozen=True)
class Scan:
    """What a folder of classes holds.

    Attributes:
        classes: the recordings of each class's folder, both sorted by name. Two folders whose
            names are one text in two spellings are one class.
    """

    classes: dict[Path, list[Path]]
    left_out: tuple[LeftOut, ...]

    @property
    def divided(self) -> bool:
        """Whether the folders are splits, not classes."""
        return all(folder.name in SPLIT_NAMES for folder in self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The folders' names, composed."""
        return tuple(_composed(folder.name) for folder in self.classes)


def scan(root: Path, content: str) -> Scan:
    """The classes in `root` and their recordings; `content` says what it should hold.

    Raises:
        DatasetError: no folders.
    """
    check_folder(root, content)
    classes: dict[Path, list[Path]] = {}
    homes: dict[str, Path] = {}
    left_out: list[LeftOut] = []
    for path in sorted(root.iterdir(), key=lambda path: (_composed(path.name), path.name)):
        reason = _why_no_class(path)
        if reason is None:
            recordings, others = _split_recordings(path)
            classes.setdefault(homes.setdefault(_composed(path.name), path), []).extend(recordings)
            left_out += others
        elif reason:
            left_out.append(LeftOut(path, reason))
    if not classes:
        raise DatasetError(f"{root} holds no folders of classes.", _LAYOUTS)
    _refuse_mixture(root, [folder.name for folder in classes])
    return Scan(classes, tuple(left_out))


def _refuse_mixture(root: Path, names: list[str]) -> None:
    """A folder beside train and test, or a Train: its user means splits, and would get classes."""
    splits = [name for name in names if name.lower() in SPLIT_NAMES]
    others = [name for name in names if name not in SPLIT_NAMES]
    if len(splits) > 1 and others:
        raise DatasetError(
            f"{root} holds {', '.join(splits)}, and among its folders {others[0]!r}.",
            _LAYOUTS,
            "move away or rename what is no split; splits are train, validation or val, and test.",
        )


def _why_no_class(path: Path) -> str | None:
    """Why something beside the classes is none; None for a class, "" where nobody would ask."""
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    if path.is_file():
        return "a recording outside the folders of classes" if _sounds(path) else ""
    if path.name.startswith("."):
        return ""
    if path.name == BACKGROUND_NOISE:
        return "noise of Speech Commands, no class"
    return None


def _split_recordings(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """The recordings in a class's folder, and what else is in there but hidden files."""
    recordings, others = [], []
    for path in sorted(folder.iterdir()):
        reason = "a folder within a class" if path.is_dir() else why_no_recording(path)
        if path.name.startswith("."):
            continue
        if reason is None:
            recordings.append(path)
        else:
            others.append(LeftOut(path, reason))
    return recordings, others


def why_no_recording(path: Path) -> str | None:
    """Why a file in a folder of recordings is none; None for one."""
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    if not _sounds(path):
        return f"{path.suffix or 'no suffix'} is no format of recordings"
    return None if path.is_file() else "no file"


def _sounds(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def check_recordings(folder: Path, found: list[Path]) -> list[Path]:
    """`found`; raises `DatasetError` where a class has none."""
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


def _read_splits(root: Path, found: Scan) -> Dataset:
    splits = {folder: SPLIT_NAMES[folder.name] for folder in found.classes}
    if len(set(splits.values())) < len(splits):
        raise DatasetError(f"{root} holds both val and validation.", "one of them.")
    if "train" not in splits.values():
        raise DatasetError(
            f"{root} has no train folder beside {next(iter(splits)).name}.", _LAYOUTS
        )
    parts = {split: scan(folder, _LAYOUTS) for folder, split in splits.items()}
    labels = parts["train"].labels
    clips: list[Clip] = []
    for split, part in parts.items():
        for label, (folder, paths) in zip(part.labels, part.classes.items(), strict=True):
            if label not in labels:
                raise DatasetError(
                    f"{folder} is a class without a folder in {root / 'train'}.",
                    f"one of the classes to learn: {', '.join(labels)}.",
                    "correct the folder's name, or add recordings to train.",
                )
            check_recordings(folder, paths)
            clips += [Clip(path, labels.index(label), split) for path in paths]
    refuse_copies(str(root), clips)
    # What `found` left out within the splits' folders are the classes.
    beside = [one for one in found.left_out if one.path.parent == root]
    deeper = [one for part in parts.values() for one in part.left_out]
    return Dataset(root.resolve().name, labels, tuple(clips), (*beside, *deeper))


_Assign = Callable[[Path, list[Path]], Iterator[tuple[Path, Split]]]


def _collect(found: Scan, assign: _Assign) -> tuple[Clip, ...]:
    return tuple(
        Clip(path, label, split)
        for label, (folder, paths) in enumerate(found.classes.items())
        for path, split in assign(folder, paths)
    )


def _assign(folder: Path, paths: list[Path]) -> Iterator[tuple[Path, Split]]:
    """Divide one class 80/10/10."""
    paths = _shuffled(folder, paths, 3, "one for each of train, validation and test")
    tenth = max(1, (len(paths) + 5) // 10)
    for index, path in enumerate(paths):
        yield path, "test" if index < tenth else "validation" if index < 2 * tenth else "train"


def _assign_fold(folder: Path, paths: list[Path], fold: int) -> Iterator[tuple[Path, Split]]:
    """Every fifth recording of one class tests."""
    for index, path in enumerate(_shuffled(folder, paths, FOLDS, "one for each fold")):
        yield path, "test" if index % FOLDS == fold - 1 else "train"


def _shuffled(folder: Path, paths: list[Path], least: int, why: str) -> list[Path]:
    """A class's recordings in the order of a hash of their names, the same on any machine."""
    check_recordings(folder, paths)
    if len(paths) < least:
        raise DatasetError(
            f"{folder} holds {len(paths)} recording{'' if len(paths) == 1 else 's'}.",
            f"at least {least} of each class, {why}.",
            "add recordings, or divide them yourself into train/, validation/ and test/.",
        )
    return sorted(paths, key=_name_hash)


def _name_hash(path: Path) -> bytes:
    return hashlib.sha256(_composed(path.name).encode(errors="surrogateescape")).digest()


def _composed(name: str) -> str:
    """One form of a name: macOS hands out decomposed ones, and Linux composed ones."""
    return unicodedata.normalize("NFC", name)
