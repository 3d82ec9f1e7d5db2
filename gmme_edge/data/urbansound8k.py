"""UrbanSound8K (Salamon, Jacoby and Bello, ACM MM 2014): 8,732 slices in 10 official folds.

The folder as it is published::

    audio/fold1/101415-3-0-2.wav …
    metadata/UrbanSound8K.csv      slice_file_name,fsID,start,end,salience,fold,classID,class

The folds keep together the slices of one Freesound recording (fsID) that share a class. Five
recordings gave slices of two classes, which the official division puts into two folds.
"""

from __future__ import annotations

from pathlib import Path

from gmme_edge.data.dataset import Clip, Dataset
from gmme_edge.data.tables import (
    Row,
    check_folder,
    locate_recordings,
    numbered_labels,
    read_table,
)

FOLDS = 10
_COLUMNS = ("slice_file_name", "fsID", "fold", "classID", "class")


def load_urbansound8k(root: Path, fold: int) -> Dataset:
    """Test on `fold`, train on the other nine; labels are the classes ordered by classID.

    Raises:
        DatasetError: a missing table or recording, a bad row, or slices of one class and fsID
            in two folds.
    """
    check_folder(root, "metadata/UrbanSound8K.csv and audio/fold1 to audio/fold10")
    rows = read_table(root / "metadata" / "UrbanSound8K.csv", _COLUMNS)
    labels, indices = numbered_labels(rows, "classID", "class", 10)

    def place(row: Row) -> Path:
        return root / "audio" / f"fold{_fold(row)}" / row.text("slice_file_name")

    clips = tuple(
        Clip(
            path,
            label,
            "test" if _fold(row) == fold else "train",
            f"{row.text('fsID')} ({row.text('class')})",
        )
        for row, path, label in zip(rows, locate_recordings(rows, place), indices, strict=True)
    )
    return Dataset(f"UrbanSound8K fold {fold}", labels, clips)


def _fold(row: Row) -> int:
    return row.integer("fold", 1, FOLDS)
