"""A user's own table of recordings: a CSV file with the columns path,label,split[,group]."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from gmme_edge.data.dataset import Clip, Dataset, Split
from gmme_edge.data.folder import SPLIT_NAMES, refuse_copies
from gmme_edge.data.tables import Row, locate_recordings, read_table
from gmme_edge.errors import DatasetError


def load_manifest(root: Path) -> Dataset:
    """The recordings that the CSV file `root` names, relative to its folder; sorted labels.

    A ``group`` names the source of a recording, such as a speaker; it may be empty.

    Raises:
        DatasetError: an unreadable table, a bad row or split, a missing file, a label that only
            appears outside train, or a recording, source or content in two splits.
    """
    if root.is_dir():
        raise DatasetError(
            f"{root} is a folder.",
            "the path of a CSV file with the columns path,label,split.",
            "name the CSV file itself, or use the data set folder.",
        )
    rows = read_table(root, ("path", "label", "split"))
    splits = [_split_of(row) for row in rows]
    texts = [unicodedata.normalize("NFC", row.text("label")) for row in rows]
    labels = tuple(sorted(set(texts)))
    learnt = {text for text, split in zip(texts, splits, strict=True) if split == "train"}
    for row, text in zip(rows, texts, strict=True):
        if text not in learnt:
            raise row.error(
                f"no row of label {text!r} has split train.",
                "recordings of every label in train.",
                "correct the label, or add recordings of it to train.",
            )
    index = {label: position for position, label in enumerate(labels)}
    paths = locate_recordings(rows, lambda row: root.parent / row.text("path"))
    clips = tuple(
        Clip(path, index[text], split, row.values.get("group", "").strip())
        for row, path, text, split in zip(rows, paths, texts, splits, strict=True)
    )
    refuse_copies(str(root), clips)
    return Dataset(root.stem, labels, clips)


def _split_of(row: Row) -> Split:
    name = row.text("split")
    if name not in SPLIT_NAMES:
        raise row.error(f"split is {name!r}.", f"one of {', '.join(SPLIT_NAMES)}.", "correct it.")
    return SPLIT_NAMES[name]
