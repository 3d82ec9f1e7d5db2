"""Embeddings on their way: from a worker through a file into the journal, and out as a matrix."""

from __future__ import annotations

import csv
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import require
from gmme_edge.files import replacing

if TYPE_CHECKING:
    from gmme_edge.workflows.archive.findings import Findings

INDEX, MATRIX, TABLE = "embeddings.csv", "embeddings.npy", "embeddings.parquet"
COLUMNS = ("path", "start_s", "end_s", "start_utc")
_KEPT = 1024  # windows in memory
_BATCH = 4096  # rows of one group in Parquet

Place = tuple[str, float, float, str]  # as COLUMNS


class Spool:
    """The embeddings of one recording in a file, from which the scan takes them.

    A file, because it costs a worker no memory however long the recording is. A record holds the
    window's first sample (8 bytes) and its vector (float32).

    Attributes:
        name: of the file in `folder`; empty before the first window.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.name = folder, ""
        self._waiting: list[bytes] = []

    def add(self, start: int, vector: NDArray[np.float32]) -> None:
        self._waiting.append(np.int64(start).tobytes() + np.asarray(vector, np.float32).tobytes())
        if len(self._waiting) >= _KEPT:
            self.write()

    def write(self) -> None:
        """Put what waits into the file."""
        if not self._waiting:
            return
        self.name = self.name or f"{uuid.uuid4().hex}.records"
        with (self._folder / self.name).open("ab") as file:
            file.write(b"".join(self._waiting))
        self._waiting.clear()


def record_type(width: int) -> np.dtype[Any]:
    """A record of a `Spool`, for vectors of `width`."""
    return np.dtype([("start", "<i8"), ("vector", "<f4", (width,))])


def blocks_of(path: Path, width: int) -> Iterator[bytes]:
    """What a `Spool` wrote, a few thousand records at a time."""
    size = record_type(width).itemsize * _BATCH
    with path.open("rb") as file:
        while block := file.read(size):
            yield block


def write_embeddings(
    folder: Path, formats: tuple[str, ...], journal: Findings, head: Mapping[str, Any]
) -> dict[str, Path]:
    """Write all vectors in each of `formats`; what they are called → file. A block at a time.

    Raises:
        MissingDependencyError: Parquet without pyarrow.
    """
    found: dict[str, Path] = {}
    if "npy" in formats:
        found["embeddings"] = _write_matrix(folder / MATRIX, journal, head)
        found["embeddings-index"] = _write_index(folder / INDEX, journal, head)
    if "parquet" in formats:
        found["embeddings-parquet"] = _write_parquet(folder / TABLE, journal, head)
    return found


def _write_matrix(path: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    """``(windows, width)`` float32, in the order of the index."""
    width = int(head["embedding_width"])
    shape = (journal.count_embeddings(width), width)
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with replacing(path, 4 * shape[0] * shape[1]) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for _, _, _, records in journal.embeddings(width):
            file.write(np.ascontiguousarray(records["vector"]).tobytes())
    return path


def _write_index(path: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    """Row n says where row n of the matrix begins and ends."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for places, _ in _placed(journal, head):
            table.writerows(places)
    return path


def _write_parquet(path: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    arrow = require("pyarrow", "write Parquet")
    parquet = require("pyarrow.parquet", "write Parquet")
    width = int(head["embedding_width"])
    kinds = (arrow.string(), arrow.float64(), arrow.float64(), arrow.string())
    vectors = arrow.list_(arrow.float32(), width)
    schema = arrow.schema(
        [*zip(COLUMNS, kinds, strict=True), ("embedding", vectors)],
        metadata={"gmme_edge": json.dumps(head)},
    )
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for places, matrix in _placed(journal, head):
            columns = [list(column) for column in zip(*places, strict=True)]
            flat = arrow.array(matrix.reshape(-1))
            values = [arrow.array(c, k) for c, k in zip(columns, kinds, strict=True)]
            values.append(arrow.FixedSizeListArray.from_arrays(flat, width))
            writer.write_table(arrow.Table.from_arrays(values, schema=schema))
    return path


def _placed(
    journal: Findings, head: Mapping[str, Any]
) -> Iterator[tuple[list[Place], NDArray[np.float32]]]:
    """Blocks of windows: where each lies, and their vectors ``(n, width)``."""
    from gmme_edge.workflows.archive.tables import name_of, utc_of

    rate_hz, window = int(head["sample_rate_hz"]), int(head["window_samples"])
    for path, start_utc, duration_s, records in journal.embeddings(int(head["embedding_width"])):
        name = name_of(path)
        places = []
        for first in records["start"].tolist():
            start_s = round(first / rate_hz, 6)
            end_s = round(min((first + window) / rate_hz, max(duration_s, start_s)), 6)
            utc = utc_of(start_utc, first * 1_000_000 // rate_hz)
            places.append((name, start_s, end_s, utc))
        yield places, np.ascontiguousarray(records["vector"])


def read_index(path: Path, rows: list[int]) -> dict[int, Place]:
    """The places of these rows of the matrix."""
    wanted, found = set(rows), {}
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines, None)
        for row, line in enumerate(islice(lines, max(wanted, default=-1) + 1)):
            if row in wanted:
                found[row] = (line[0], _seconds(line[1]), _seconds(line[2]), line[3])
    return found


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"a time of {text}")
    return value
