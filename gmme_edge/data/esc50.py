"""ESC-50 and its subset ESC-10 (Piczak, ACM MM 2015): 5 s field recordings in 5 official folds.

The folder as it is published::

    audio/1-100032-A-0.wav …
    meta/esc50.csv             filename,fold,target,category,esc10,src_file,take

The folds keep together the cuts of one source recording (src_file) that share a category. Four
sources gave clips of two categories, which the official division puts into two folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gmme_edge.data.dataset import Clip, Dataset
from gmme_edge.data.tables import (
    Row,
    check_folder,
    locate_recordings,
    numbered_labels,
    read_table,
)
from gmme_edge.errors import DatasetError

FOLDS = 5
_COLUMNS = ("filename", "fold", "target", "category", "src_file")


def load_esc50(root: Path, fold: int) -> Dataset:
    """Test on `fold`, train on the other four; labels are the categories ordered by target.

    Raises:
        DatasetError: a missing table or recording, a bad row, or clips of one category and source
            in two folds.
    """
    table = _table(root)
    return _divide(f"ESC-50 fold {fold}", root, read_table(table, _COLUMNS), fold)


def load_esc10(root: Path, fold: int) -> Dataset:
    """As `load_esc50`, with only the rows whose esc10 is True: 10 labels, numbered 0 to 9."""
    table = _table(root)
    rows = [row for row in read_table(table, (*_COLUMNS, "esc10")) if _in_esc10(row)]
    if not rows:
        raise DatasetError(f"{table} has no row whose esc10 is True.", "the table of ESC-50.")
    return _divide(f"ESC-10 fold {fold}", root, rows, fold)


def _table(root: Path) -> Path:
    check_folder(root, "meta/esc50.csv and audio/")
    return root / "meta" / "esc50.csv"


def _in_esc10(row: Row) -> bool:
    value = row.text("esc10").lower()
    if value not in ("true", "false"):
        raise row.error(f"esc10 is {value!r}.", "True or False.", "correct it.")
    return value == "true"


def _divide(name: str, root: Path, rows: Sequence[Row], fold: int) -> Dataset:
    labels, indices = numbered_labels(rows, "target", "category", 50)
    paths = locate_recordings(rows, lambda row: root / "audio" / row.text("filename"))
    clips = tuple(
        Clip(
            path,
            label,
            "test" if row.integer("fold", 1, FOLDS) == fold else "train",
            f"{row.text('src_file')} ({row.text('category')})",
        )
        for row, path, label in zip(rows, paths, indices, strict=True)
    )
    return Dataset(name, labels, clips)
