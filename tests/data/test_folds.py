"""ESC-50 and UrbanSound8K: tables, folds and sources, on small trees in the official layouts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gmme_edge.data.esc50 import load_esc10, load_esc50
from gmme_edge.data.urbansound8k import load_urbansound8k
from gmme_edge.errors import DatasetError
from tests.data.trees import write_clip, write_table

ESC_HEADER = "filename,fold,target,category,esc10,src_file,take"
ESC_ROWS = [
    ("1-100-A-0.wav", 1, 0, "dog", True, 100, "A"),
    ("1-101-A-14.wav", 1, 14, "chirping_birds", False, 101, "A"),
    ("2-200-A-0.wav", 2, 0, "dog", True, 200, "A"),
    ("2-200-B-0.wav", 2, 0, "dog", True, 200, "B"),
    ("2-201-A-10.wav", 2, 10, "rain", True, 201, "A"),
    ("5-300-A-10.wav", 5, 10, "rain", True, 300, "A"),
]
URBAN_HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class"
URBAN_ROWS = [
    ("100-3-0-0.wav", 100, 0, 0.3, 1, 10, 3, "dog_bark"),
    ("100-3-0-1.wav", 100, 1, 1.3, 1, 10, 3, "dog_bark"),
    ("200-0-0-0.wav", 200, 0, 4, 2, 1, 0, "air_conditioner"),
    ("300-9-0-0.wav", 300, 0, 4, 1, 2, 9, "street_music"),
]


def esc_tree(root: Path, rows: Sequence[Sequence[object]], header: str = ESC_HEADER) -> Path:
    for seed, row in enumerate(rows):
        write_clip(root / "audio" / str(row[0]), seed)
    write_table(root / "meta" / "esc50.csv", header, rows)
    return root


def urban_tree(root: Path, rows: Sequence[Sequence[object]]) -> Path:
    for seed, row in enumerate(rows):
        write_clip(root / "audio" / f"fold{row[5]}" / str(row[0]), seed)
    write_table(root / "metadata" / "UrbanSound8K.csv", URBAN_HEADER, rows)
    return root


def test_esc50_fold_is_tested_and_labels_follow_the_targets(tmp_path: Path) -> None:
    dataset = load_esc50(esc_tree(tmp_path, ESC_ROWS), 2)
    assert dataset.labels == ("dog", "rain", "chirping_birds")
    found = [(clip.path.name, dataset.labels[clip.label]) for clip in dataset.select("test")]
    assert found == [("2-200-A-0.wav", "dog"), ("2-200-B-0.wav", "dog"), ("2-201-A-10.wav", "rain")]
    assert dataset.counts() == {"train": 3, "test": 3}


def test_esc10_takes_its_rows_only(tmp_path: Path) -> None:
    dataset = load_esc10(esc_tree(tmp_path, ESC_ROWS), 1)
    assert dataset.labels == ("dog", "rain")
    assert [clip.path.name for clip in dataset.select("test")] == ["1-100-A-0.wav"]


def test_esc10_reads_the_spelling_of_spreadsheets(tmp_path: Path) -> None:
    rows = [(*row[:4], str(row[4]).upper(), *row[5:]) for row in ESC_ROWS]
    assert len(load_esc10(esc_tree(tmp_path, rows), 1).clips) == 5


def test_esc50_accepts_another_audio_format_and_a_byte_order_mark(tmp_path: Path) -> None:
    esc_tree(tmp_path, ESC_ROWS)
    first = tmp_path / "audio" / "1-100-A-0.wav"
    write_clip(first.with_suffix(".flac"))
    first.unlink()
    table = tmp_path / "meta" / "esc50.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert load_esc50(tmp_path, 1).select("test")[0].path == first.with_suffix(".flac")


def test_one_source_of_two_categories_may_span_folds(tmp_path: Path) -> None:
    """The published table has four such sources; these rows are its own."""
    rows = [
        ("2-134049-A-6.wav", 2, 6, "hen", False, 134049, "A"),
        ("3-134049-A-1.wav", 3, 1, "rooster", True, 134049, "A"),
    ]
    assert load_esc50(esc_tree(tmp_path, rows), 2).counts() == {"train": 1, "test": 1}


def test_esc50_refuses_a_source_in_train_and_test(tmp_path: Path) -> None:
    rows = [*ESC_ROWS, ("1-200-C-0.wav", 1, 0, "dog", True, 200, "C")]
    with pytest.raises(DatasetError, match=r"leaks: the source recording 200 \(dog\)"):
        load_esc50(esc_tree(tmp_path, rows), 1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, "", "line 3: filename is empty"),
        (1, "6", "line 3: fold is '6'.*\n.*from 1 to 5"),
        (1, "one", "line 3: fold is 'one'"),
        (1, "1.0", "line 3: fold is '1.0'"),
        (1, "-1", "line 3: fold is '-1'"),
        (1, "9" * 5000, "line 3: fold is '999"),
        (1, "²", "line 3: fold is '²'"),
        (2, "50", "line 3: target is '50'.*\n.*from 0 to 49"),
        (2, "0", "line 3: target 0 stands with category 'chirping_birds'"),
        (3, "dog", "line 3: target 14 stands with category 'dog'"),
        (4, "maybe", "line 3: esc10 is 'maybe'"),
        (5, "", "line 3: src_file is empty"),
    ],
)
def test_esc_bad_cells_are_named_with_their_line(
    tmp_path: Path, column: int, value: str, message: str
) -> None:
    esc_tree(tmp_path, ESC_ROWS)
    rows = [list(map(str, row)) for row in ESC_ROWS]
    rows[1][column] = value
    if column != 4:
        rows[1][4] = "True"  # so that ESC-10 reads the row too
    table = write_table(tmp_path / "meta" / "esc50.csv", ESC_HEADER, rows)
    with pytest.raises(DatasetError, match=message) as caught:
        load_esc10(tmp_path, 1)
    assert str(table) in str(caught.value)


def test_esc_missing_recordings_are_counted_and_the_first_named(tmp_path: Path) -> None:
    esc_tree(tmp_path, ESC_ROWS)
    for row in ESC_ROWS[1:3]:
        (tmp_path / "audio" / str(row[0])).unlink()
    with pytest.raises(DatasetError, match=r"line 3: .*1-101-A-14.wav does not exist \(2 of 6"):
        load_esc50(tmp_path, 1)


def test_esc_repeated_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 8: .*1-100-A-0.wav is named on line 2 too"):
        load_esc50(esc_tree(tmp_path, [*ESC_ROWS, ESC_ROWS[0]]), 1)


def test_esc10_without_its_rows(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no row whose esc10 is True"):
        load_esc10(esc_tree(tmp_path, ESC_ROWS[1:2]), 1)


def test_esc_missing_columns_and_table(tmp_path: Path) -> None:
    esc_tree(tmp_path, ESC_ROWS, ESC_HEADER.replace("category", "class").replace("fold", "part"))
    with pytest.raises(
        DatasetError, match="lacks the columns fold, category; it has filename, part"
    ):
        load_esc50(tmp_path, 1)
    (tmp_path / "meta" / "esc50.csv").unlink()
    with pytest.raises(DatasetError, match=r"meta/esc50.csv does not exist"):
        load_esc50(tmp_path, 1)


def test_urbansound8k_fold_is_tested(tmp_path: Path) -> None:
    dataset = load_urbansound8k(urban_tree(tmp_path, URBAN_ROWS), 10)
    assert dataset.labels == ("air_conditioner", "dog_bark", "street_music")
    test = dataset.select("test")
    assert [clip.path.name for clip in test] == ["100-3-0-0.wav", "100-3-0-1.wav"]
    assert {clip.label for clip in test} == {1}
    assert dataset.counts() == {"test": 2, "train": 2}


def test_urbansound8k_source_of_two_classes_may_span_folds(tmp_path: Path) -> None:
    """The published table has five such recordings; these rows are its own."""
    rows = [
        ("77751-4-0-0.wav", 77751, 0.39967, 4.39967, 1, 2, 4, "drilling"),
        ("77751-7-0-0.wav", 77751, 0.449437, 4.449437, 1, 7, 7, "jackhammer"),
    ]
    assert load_urbansound8k(urban_tree(tmp_path, rows), 7).counts() == {"train": 1, "test": 1}


def test_urbansound8k_refuses_a_source_in_two_folds(tmp_path: Path) -> None:
    rows = [*URBAN_ROWS, ("100-3-0-2.wav", 100, 2, 2.3, 1, 1, 3, "dog_bark")]
    with pytest.raises(DatasetError, match="leaks: the source recording 100"):
        load_urbansound8k(urban_tree(tmp_path, rows), 10)


def test_urbansound8k_bad_cells_and_missing_files(tmp_path: Path) -> None:
    urban_tree(tmp_path, URBAN_ROWS)
    (tmp_path / "audio" / "fold1" / "200-0-0-0.wav").unlink()
    with pytest.raises(DatasetError, match=r"line 4: .*fold1/200-0-0-0.wav does not exist"):
        load_urbansound8k(tmp_path, 1)
    rows = [("100-3-0-0.wav", 100, 0, 0.3, 1, 11, 3, "dog_bark")]
    write_table(tmp_path / "metadata" / "UrbanSound8K.csv", URBAN_HEADER, rows)
    with pytest.raises(DatasetError, match=r"line 2: fold is '11'.*\n.*from 1 to 10"):
        load_urbansound8k(tmp_path, 1)
