import re
from pathlib import Path

import pytest

from gmme_edge.data.dataset import Split
from gmme_edge.data.registry import DATASETS, fold_count, open_dataset
from gmme_edge.errors import DatasetError, UsageError
from tests.data.trees import shared

ROOT = Path(__file__).parents[2]


def needed_fold(name: str, root: Path) -> int | None:
    """1 for a data set that is read fold by fold alone."""
    try:
        open_dataset(name, root)
    except UsageError:
        return 1
    except DatasetError:
        return None
    raise AssertionError(f"{name} was read from {root}.")


def test_names_are_the_documented_ones() -> None:
    page = (ROOT / "docs" / "reference" / "data.md").read_text(encoding="utf-8")
    first_column = "".join(line.split("|")[1] for line in page.splitlines() if "|" in line)
    assert set(re.findall(r"`([^`]+)`", first_column)) - {"--dataset"} == set(DATASETS)
    known = {"esc50", "esc10", "urbansound8k", "speech-commands", "folder", "csv"}
    assert known <= set(DATASETS)  # scripts and checkpoints have these names


def test_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"esc5o.*\n.*speech-commands"):
        open_dataset("esc5o", tmp_path)


@pytest.mark.parametrize(
    ("name", "fold"),
    [(name, fold) for name in ("esc50", "esc10", "folder") for fold in (None, 0, 6, -1)
     if (name, fold) != ("folder", None)],
)  # fmt: skip
def test_fold_is_from_1_to_5(tmp_path: Path, name: str, fold: int | None) -> None:
    with pytest.raises(UsageError, match="from 1 to 5"):
        open_dataset(name, tmp_path, fold)


@pytest.mark.parametrize("fold", [None, 0, 11])
def test_urbansound8k_needs_a_fold_from_1_to_10(tmp_path: Path, fold: int | None) -> None:
    with pytest.raises(UsageError, match="from 1 to 10"):
        open_dataset("urbansound8k", tmp_path, fold)


@pytest.mark.parametrize("name", ["speech-commands", "csv"])
def test_fold_is_refused_where_there_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no folds"):
        open_dataset(name, tmp_path, 1)


def test_number_of_folds() -> None:
    assert [fold_count(name) for name in ("esc50", "urbansound8k", "folder")] == [5, 10, 5]
    with pytest.raises(UsageError, match="csv has no folds"):
        fold_count("csv")


@pytest.mark.parametrize("name", DATASETS)
def test_a_root_that_does_not_exist_is_named(tmp_path: Path, name: str) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(DatasetError, match="nowhere"):
        open_dataset(name, root, needed_fold(name, root))


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "csv"])
def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "archive.zip"
    file.write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"archive.zip is a file, not a folder"):
        open_dataset(name, file, needed_fold(name, file))


@pytest.mark.parametrize("name", ["esc10", "esc50"])
def test_real_esc10_folds(name: str) -> None:
    root = shared("ESC-10")
    tested: set[Path] = set()
    for fold in range(1, 6):
        dataset = open_dataset(name, root, fold)
        assert dataset.counts() == {"train": 320, "test": 80}
        test = dataset.select("test")
        assert all(clip.path.name.startswith(f"{fold}-") for clip in test)
        assert [sum(clip.label == label for clip in test) for label in range(10)] == [8] * 10
        tested |= {clip.path for clip in test}
    assert len(tested) == 400
    assert dataset.labels == (
        "dog", "rooster", "rain", "sea_waves", "crackling_fire",
        "crying_baby", "sneezing", "clock_tick", "helicopter", "chainsaw",
    )  # fmt: skip


def test_real_fsdd_lists() -> None:
    dataset = open_dataset("speech-commands", shared("FSDD"))
    assert dataset.counts() == {"train": 2400, "validation": 300, "test": 300}
    digits = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
    assert dataset.labels == tuple(sorted(digits))
    # The lists of this set follow from the names: takes 0-4 are tested, 5-9 validated.
    divided: tuple[tuple[Split, range], ...] = (
        ("test", range(5)),
        ("validation", range(5, 10)),
    )
    for split, takes in divided:
        found = {int(clip.path.stem.rpartition("_")[2]) for clip in dataset.select(split)}
        assert found == set(takes)
