from pathlib import Path

import pytest

from gmme_edge.data.manifest import load_manifest
from gmme_edge.errors import DatasetError
from tests.data.trees import write_clip, write_table

HEADER = "path,label,split"
ROWS = [
    ("clips/a.wav", "dog", "train"),
    ("clips/b.wav", "cat", "train"),
    ("clips/c.wav", "cat", "val"),
    ("clips/d.wav", "dog", "test"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for seed, row in enumerate(ROWS):
        write_clip(tmp_path / row[0], seed)
    return tmp_path / "clips.csv"


def test_paths_are_relative_to_the_table(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    dataset = load_manifest(write_table(table, HEADER, ROWS))
    assert dataset.labels == ("cat", "dog")
    assert dataset.counts() == {"train": 2, "validation": 1, "test": 1}
    assert dataset.select("test")[0].path == table.parent / "clips/d.wav"
    assert dataset.select("test")[0].label == 1


def test_quoted_cells_absolute_paths_and_column_order(table: Path) -> None:
    write_clip(table.parent / "dog, barking.wav", 9)
    lines = [
        "split,notes,label,path",
        'train,"two\nlines",dog,"dog, barking.wav"',
        f"test,,dog,{table.parent / 'clips/a.wav'}",
    ]
    table.write_text("\n".join(lines))
    assert load_manifest(table).counts() == {"train": 1, "test": 1}


def test_groups_must_not_span_splits(table: Path) -> None:
    rows = [(*row, speaker) for row, speaker in zip(ROWS, ("ann", "ben", "", ""), strict=True)]
    write_table(table, HEADER + ",group", rows)
    assert [clip.group for clip in load_manifest(table).select("train")] == ["ann", "ben"]
    write_table(table, HEADER + ",group", [*rows[:3], (*ROWS[3], "ann")])
    with pytest.raises(DatasetError, match="leaks: the source recording ann"):
        load_manifest(table)


def test_same_content_in_two_splits_is_refused(table: Path) -> None:
    write_clip(table.parent / "clips/d.wav", 0)
    with pytest.raises(DatasetError, match="same content"):
        load_manifest(write_table(table, HEADER, ROWS))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("clips/e.wav", "dog", "train"), "line 6: .*clips/e.wav does not exist"),
        (("clips/a.wav", "dog", "train"), "line 6: .*clips/a.wav is named on line 2 too"),
        (("clips/a.wav", "dog", "Test"), "line 6: split is 'Test'.*\n.*one of train"),
        (("clips/a.wav", "", "test"), "line 6: label is empty"),
        (("", "dog", "test"), "line 6: path is empty"),
        (("clips", "dog", "test"), "line 6: .*clips does not exist"),
        (("clips/a.wav", "cow", "test"), "line 6: no row of label 'cow' has split train"),
        (("clips/a.wav", "dog"), "line 6: 2 cells.*\n.*3"),
        (("clips/a.wav", "dog", "test", "x"), "line 6: 4 cells"),
    ],
)
def test_bad_rows_are_named(table: Path, row: tuple[str, ...], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        load_manifest(write_table(table, HEADER, [*ROWS, row]))
    assert str(table) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns path, label, split; it has none"),
        (b"path;label;split\na;b;train\n", "it has path;label;split"),
        (b"path,label,split\n", "has no rows"),
        ("path,label,split\ncaf\u00e9.wav,dog,train\n".encode("latin-1"), "is not UTF-8"),
        ("path,label,split\n".encode("utf-16"), "is not UTF-8"),
        (b'path,label,split\n"a.wav,dog,train\n', "cannot be read"),
    ],
)
def test_bad_tables_are_clear(table: Path, content: bytes, message: str) -> None:
    table.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        load_manifest(table)
    assert str(table) in str(caught.value)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?s)is a folder.*data set folder"):
        load_manifest(tmp_path)
