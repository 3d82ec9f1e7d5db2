"""The events of a scan as other programs read them, one row at a time."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from gmme_edge.errors import require
from gmme_edge.files import replacing, replacing_folder
from gmme_edge.workflows.archive.findings import Findings, absolute
from gmme_edge.workflows.archive.heard import Row

_BATCH = 10_000
_LONGEST_NAME = 255  # bytes, on the file systems of today
_COLUMNS = ("path", *(each.name for each in fields(Row)), "model_sha256")
_RAVEN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Begin Path",
    "File Offset (s)", "Label", "Confidence", "Begin UTC",
)  # fmt: skip


def write_tables(
    folder: Path, formats: tuple[str, ...], journal: Findings, head: Mapping[str, Any]
) -> dict[str, Path]:
    """Write the events in each of `formats`; format → file or folder. Each is whole or absent.

    Raises:
        MissingDependencyError: Parquet without pyarrow.
    """
    return {name: _WRITERS[name](folder, journal, head) for name in formats}


def write_failed(path: Path, journal: Findings) -> None:
    """A table of the recordings that could not be heard, with the reasons."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "reason"))
        table.writerows((name_of(raw), reason) for raw, reason in journal.failed())


def name_of(path: bytes) -> str:
    """A path as text; bytes that are not UTF-8 as escapes."""
    return os.fsdecode(path).encode(errors="backslashreplace").decode()


def utc_of(start_utc: str, after_us: int) -> str:
    """The time so many microseconds after `start_utc`; empty where that is."""
    if not start_utc:
        return ""
    found = datetime.fromisoformat(start_utc) + timedelta(microseconds=after_us)
    return found.isoformat(timespec="milliseconds")


def _rows(journal: Findings, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, _, row in journal.events():
        yield {"path": name_of(path), **asdict(row), "model_sha256": head["model_sha256"]}


def _write_csv(folder: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    path = folder / "events.csv"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(_rows(journal, head))
    return path


def _write_jsonl(folder: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    path = folder / "events.jsonl"
    # An escape of a name that is no Unicode is one of JSON, too.
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(json.dumps(head, ensure_ascii=False) + "\n")
        for row in _rows(journal, head):
            file.write(json.dumps({"kind": "event", **row}, ensure_ascii=False) + "\n")
    return path


def _write_parquet(folder: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    arrow = require("pyarrow", "write Parquet")
    parquet = require("pyarrow.parquet", "write Parquet")
    numbers = {"start_s", "end_s", "confidence", "mean"}
    schema = arrow.schema(
        [(name, arrow.float64() if name in numbers else arrow.string()) for name in _COLUMNS],
        metadata={"gmme_edge": json.dumps(head)},
    )
    path, rows = folder / "events.parquet", _rows(journal, head)
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(arrow.Table.from_pylist(batch, schema))
    return path


def _write_raven(folder: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    """Times as Raven counts them where all recordings that were heard are opened in a row."""
    path = folder / "events.selections.txt"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, "excel-tab", lineterminator="\n")
        table.writerow(_RAVEN)
        for number, (raw, before_s, row) in enumerate(journal.events(), 1):
            times = (f"{before_s + row.start_s:.6f}", f"{before_s + row.end_s:.6f}")
            where = (name_of(absolute(raw)), row.start_s)
            table.writerow(
                (
                    number,
                    "Spectrogram 1",
                    1,
                    *times,
                    *where,
                    row.label,
                    row.confidence,
                    row.start_utc,
                )
            )
    return path


def _write_audacity(folder: Path, journal: Findings, head: Mapping[str, Any]) -> Path:
    """A label file for each recording with events, in folders like those of the recordings."""
    path, common = folder / "audacity", journal.folder()
    with replacing_folder(path) as temporary:
        for raw, events in groupby(journal.events(), key=lambda event: event[0]):
            within = Path(os.fsdecode(absolute(raw))).relative_to(common)
            labels = temporary / within.with_name(_label_name(within.name))
            labels.parent.mkdir(parents=True, exist_ok=True)
            with labels.open("w", encoding="utf-8") as file:
                for _, _, row in events:
                    label = " ".join(row.label.split())
                    file.write(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{label}\n")
    return path


def _label_name(recording: str) -> str:
    """The name of a recording's label file; one that would be too long ends in a hash."""
    raw = os.fsencode(recording)
    if len(raw) + len(".txt") <= _LONGEST_NAME:
        return recording + ".txt"
    return f"{os.fsdecode(raw[:200])}-{sha256(raw).hexdigest()[:16]}.txt"


_WRITERS: dict[str, Callable[[Path, Findings, Mapping[str, Any]], Path]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
    "raven": _write_raven,
    "audacity": _write_audacity,
}
