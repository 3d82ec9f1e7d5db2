"""CSV tables of data sets: every problem is reported with the file, the line and what to do."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.audio import AUDIO_SUFFIXES
from gmme_edge.errors import DatasetError, reason
from gmme_edge.inputs import read_text

if TYPE_CHECKING:
    import _csv

_MOST_DIGITS = 18


@dataclass(frozen=True)
class Row:
    """One row of a table, with the line it ends on (the header is line 1)."""

    table: Path
    line: int
    values: Mapping[str, str]

    def error(self, got: str, expected: str = "", fix: str = "") -> DatasetError:
        return DatasetError(f"{self.table}, line {self.line}: {got}", expected, fix)

    def text(self, column: str) -> str:
        """The cell without surrounding blanks; raises `DatasetError` where it is empty."""
        value = self.values[column].strip()
        if not value:
            raise self.error(f"{column} is empty.", f"a value for {column}.")
        return value

    def integer(self, column: str, low: int, high: int) -> int:
        """The cell as a whole number from `low` to `high`, both included."""
        value = self.text(column)
        known = value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
        number = int(value) if known else low - 1
        if not low <= number <= high:
            raise self.error(
                f"{column} is {value!r:.40}.",
                f"a whole number from {low} to {high}.",
                "correct it.",
            )
        return number


def check_folder(root: Path, content: str) -> None:
    """Raise `DatasetError` unless `root` is a folder; `content` says what it should hold."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{root} {what}.", f"a folder with {content}.", "correct the path.")


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a UTF-8 CSV file (with or without a byte-order mark), blank lines left out.

    Raises:
        DatasetError: no such file, another encoding, a missing column, a row of another width,
            or no rows at all.
    """
    wanted = f"a CSV table with the columns {','.join(columns)}."
    try:
        text = io.StringIO(read_text(path, encoding="utf-8-sig"), newline="")
        return _parse(path, csv.reader(text, strict=True), columns, wanted)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist.", wanted, "correct the path.") from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}.",
            wanted,
            "save the table as UTF-8.",
        ) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.", wanted) from error


def _parse(path: Path, reader: _csv.Reader, columns: Sequence[str], wanted: str) -> list[Row]:
    header = [name.strip() for name in next(reader, [])]
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatasetError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"it has {', '.join(header) or 'none'}.",
            wanted,
            "name the columns in the first line, separated by commas.",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{path} has two columns {twice[0] or 'without a name'}.",
            wanted,
            "remove or rename one of them.",
        )
    rows = []
    for cells in reader:
        if not cells:
            continue
        row = Row(path, reader.line_num, dict(zip(header, cells, strict=False)))
        if len(cells) != len(header):
            raise row.error(
                f"{len(cells)} cells.", f"{len(header)}, one for each column.", "correct the row."
            )
        rows.append(row)
    if not rows:
        raise DatasetError(f"{path} has no rows.", "at least one recording.")
    return rows


def numbered_labels(
    rows: Sequence[Row], number_column: str, name_column: str, limit: int
) -> tuple[tuple[str, ...], list[int]]:
    """Class names ordered by their number in the table, and each row's index among them.

    Numbers may have gaps (ESC-10 keeps those of ESC-50). `limit` is one above the largest.

    Raises:
        DatasetError: a number with two names, or a name with two numbers.
    """
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    found = []
    for row in rows:
        number = row.integer(number_column, 0, limit - 1)
        name = row.text(name_column)
        if names.setdefault(number, name) != name or numbers.setdefault(name, number) != number:
            raise row.error(
                f"{number_column} {number} stands with {name_column} {name!r}, and an earlier row "
                "pairs one of them with another.",
                f"one {number_column} for each {name_column}.",
            )
        found.append(number)
    order = sorted(names)
    index = {number: position for position, number in enumerate(order)}
    return tuple(names[number] for number in order), [index[number] for number in found]


def locate_recordings(rows: Sequence[Row], place: Callable[[Row], Path]) -> list[Path]:
    """Each row's audio file; the same stem in another audio format is accepted.

    Raises:
        DatasetError: files that do not exist (the first is named), or one file in two rows.
    """
    paths: list[Path] = []
    missing: list[tuple[Row, Path]] = []
    lines: dict[Path, int] = {}
    for row in rows:
        path = _find_audio(place(row))
        if path is None:
            missing.append((row, place(row)))
            continue
        if path in lines:
            raise row.error(f"{path} is named on line {lines[path]} too.", "each file once.")
        lines[path] = row.line
        paths.append(path)
    if missing:
        row, path = missing[0]
        raise row.error(
            f"{path} does not exist ({len(missing)} of {len(rows)} recordings are missing).",
            "every recording that the table names.",
            "copy the data set completely, or remove the rows.",
        )
    return paths


def _find_audio(path: Path) -> Path | None:
    if path.is_file():
        return path
    if not path.suffix:
        return None
    others = (path.with_suffix(suffix) for suffix in sorted(AUDIO_SUFFIXES))
    return next((other for other in others if other.is_file()), None)
