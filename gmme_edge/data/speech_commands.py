"""Speech Commands V2 (Warden, arXiv 1804.03209): one folder per word, two official lists.

The folder as it is published::

    yes/0a7c2a8d_nohash_0.wav …    a folder for each of 35 words
    validation_list.txt            yes/0a7c2a8d_nohash_0.wav, one in each line
    testing_list.txt
    _background_noise_/            long noise recordings, no word: left out
"""

from __future__ import annotations

from pathlib import Path

from gmme_edge.data.dataset import Clip, Dataset, Split
from gmme_edge.data.folder import check_recordings, scan
from gmme_edge.errors import DatasetError, reason
from gmme_edge.inputs import read_text


def load_speech_commands(root: Path) -> Dataset:
    """The official division: both lists, and everything in neither trains; labels are the words.

    Raises:
        DatasetError: a missing list, an entry without its file, a file in both lists, or a word
            without recordings.
    """
    found = scan(root, "a folder per word, validation_list.txt and testing_list.txt")
    validation, test = (_read_list(root / f"{n}_list.txt") for n in ("validation", "testing"))
    both = sorted(validation & test)
    if both:
        raise DatasetError(
            f"{root}: {both[0]} is in both validation_list.txt and testing_list.txt "
            f"({len(both)} such).",
            "each recording in one of the lists at most.",
            "use the official lists, or repair them.",
        )
    clips = tuple(
        Clip(path, label, _split_of(f"{path.parent.name}/{path.name}", validation, test))
        for label, (word, recordings) in enumerate(found.classes.items())
        for path in check_recordings(word, recordings)
    )
    _check_entries(root, validation | test, clips)
    return Dataset("Speech Commands", found.labels, clips, found.left_out)


def _read_list(path: Path) -> frozenset[str]:
    try:
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DatasetError(
            f"{path} does not exist.",
            "validation_list.txt and testing_list.txt beside the words' folders.",
            "copy the lists of the official archive, or use the data set folder.",
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.", "a text file.") from error
    return frozenset(line.strip() for line in lines if line.strip())


def _split_of(entry: str, validation: frozenset[str], test: frozenset[str]) -> Split:
    if entry in test:
        return "test"
    return "validation" if entry in validation else "train"


def _check_entries(root: Path, entries: frozenset[str], clips: tuple[Clip, ...]) -> None:
    present = {f"{clip.path.parent.name}/{clip.path.name}" for clip in clips}
    missing = sorted(entries - present)
    if missing:
        raise DatasetError(
            f"{root}: the lists name {len(missing)} files that are not there: "
            f"{', '.join(missing[:3])}{', …' * (len(missing) > 3)}.",
            "a recording for every entry, as word/name.wav.",
            "copy the data set completely, or remove the entries.",
        )
