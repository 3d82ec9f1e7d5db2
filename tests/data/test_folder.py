import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmme_edge.data.folder import FOLDS, load_folder, load_folder_fold
from gmme_edge.errors import DatasetError
from tests.data.trees import write_clip


def class_tree(root: Path, sizes: dict[str, int]) -> Path:
    for label, (name, size) in enumerate(sizes.items()):
        for i in range(size):
            write_clip(root / name / f"{i:03}.wav", 1000 * label + i, 50)
    return root


def test_classes_are_divided_80_10_10(tmp_path: Path) -> None:
    dataset = load_folder(class_tree(tmp_path, {"dog": 20, "cat": 40}))
    assert dataset.labels == ("cat", "dog")
    counts = Counter((dataset.labels[clip.label], clip.split) for clip in dataset.clips)
    assert counts == {
        ("cat", "train"): 32, ("cat", "validation"): 4, ("cat", "test"): 4,
        ("dog", "train"): 16, ("dog", "validation"): 2, ("dog", "test"): 2,
    }  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(3, 60))
def test_every_split_of_a_class_gets_some(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    root = tmp_path_factory.mktemp("sizes")
    for i in range(size):  # the division looks at names only: these need not be audio
        (root / "dog").mkdir(exist_ok=True)
        (root / "dog" / f"{i}.wav").write_bytes(str(i).encode())
    counts = load_folder(root).counts()
    assert sum(counts.values()) == size
    assert min(counts.values()) >= 1 and len(counts) == 3
    assert counts["test"] == counts["validation"] <= size / 10 + 1


def test_division_depends_on_names_alone(tmp_path: Path) -> None:
    """Another folder, another order of writing and a decomposed name give the same division."""
    names = [f"clip {i}.wav" for i in range(12)] + ["caf\u00e9.wav"]
    for i, name in enumerate(names):
        write_clip(tmp_path / "here" / "dog" / name, i, 50)
    for i, name in reversed(list(enumerate(names))):
        decomposed = name.replace("\u00e9", "e\u0301")
        write_clip(tmp_path / "there" / "dog" / decomposed, i, 50)
    here, there = (
        {c.path.name.replace("e\u0301", "\u00e9"): c.split for c in load_folder(tmp_path / w).clips}
        for w in ("here", "there")
    )
    assert here == there
    # By `sha256sum` of the names. Another rule would move users' test recordings into training.
    assert sorted(name for name, split in here.items() if split == "test") == ["clip 8.wav"]


def test_folds_test_each_recording_once(tmp_path: Path) -> None:
    """Every fold holds a fifth of each class, and the order is that of the 80/10/10 division."""
    root = class_tree(tmp_path / "sounds", {"dog": 10, "cat": 7})
    folds = [load_folder_fold(root, fold) for fold in range(1, FOLDS + 1)]
    tested = [clip.path for dataset in folds for clip in dataset.select("test")]
    assert sorted(tested) == sorted(clip.path for clip in folds[0].clips)
    assert len(set(tested)) == 17
    for dataset in folds:
        sizes = Counter(clip.label for clip in dataset.select("test"))
        assert sizes[1] == 2 and sizes[0] in (1, 2)
        assert dataset.counts().keys() == {"train", "test"}
    assert folds[1].labels == ("cat", "dog") and folds[1].name == "sounds fold 2"
    # The first by hash of the name tests in fold 1 and in the division without folds.
    first = {clip.path for clip in load_folder(root).select("test")}
    assert first < set(tested[: len(folds[0].select("test"))])


def test_folds_need_five_recordings_of_a_class(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cat holds 4 recordings.*\n.*one for each fold"):
        load_folder_fold(class_tree(tmp_path, {"dog": 5, "cat": 4}), 1)


def test_own_division_has_no_folds(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/dog/a.wav", "test/dog/b.wav")):
        write_clip(tmp_path / name, seed)
    with pytest.raises(DatasetError, match="divided by its folders test, train, and fold 2"):
        load_folder_fold(tmp_path, 2)


@pytest.mark.parametrize(
    "names", [("train", "test", "unused"), ("train", "val", "unused"), ("Train", "test")]
)
def test_a_folder_beside_the_splits_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    for seed, name in enumerate(names):
        write_clip(tmp_path / name / "dog" / "a.wav", seed)
    with pytest.raises(DatasetError, match=r"among its folders '(unused|Train)'"):
        load_folder(tmp_path)


def test_file_names_need_not_be_utf_8(tmp_path: Path) -> None:
    for i in range(3):
        clip = write_clip(tmp_path / "dog" / f"{i}.wav", i)
        clip.rename(clip.with_name(os.fsdecode(b"caf\xe9%d.wav" % i)))
    assert len(load_folder(tmp_path).counts()) == 3


def test_own_division_is_kept(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/dog/a.wav", "train/cat/b.FLAC", "val/dog/c.wav")):
        write_clip(tmp_path / name, seed)
    write_clip(tmp_path / "test" / "cat" / "d.ogg", 9)
    (tmp_path / "test" / "cat" / "notes.txt").write_text("not audio")
    (tmp_path / "README.md").write_text("about")
    dataset = load_folder(tmp_path)
    assert dataset.labels == ("cat", "dog")
    assert dataset.counts() == {"train": 2, "validation": 1, "test": 1}
    assert dataset.select("validation")[0].label == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train/dog/a.wav", "test/cat/b.wav"), "test/cat is a class without a folder"),
        (("validation/dog/a.wav", "test/dog/b.wav"), "no train folder"),
        (("train/dog/a.wav", "val/dog/b.wav", "validation/dog/c.wav"), "both val and validation"),
        (("train/a.wav", "test/b.wav"), "test holds no folders of classes"),
        (("a.wav",), "holds no folders of classes"),
        (("dog/a.wav", "dog/b.wav"), "dog holds 2 recordings.*\n.*at least 3"),
        (("dog/deeper/a.wav",), "dog holds no recordings"),
    ],
)
def test_unclear_layouts_are_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for seed, name in enumerate(files):
        write_clip(tmp_path / name, seed)
    with pytest.raises(DatasetError, match=message):
        load_folder(tmp_path)


def test_empty_class_is_named(tmp_path: Path) -> None:
    class_tree(tmp_path, {"dog": 3})
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match="cat holds no recordings"):
        load_folder(tmp_path)


def test_same_content_in_two_splits_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "train" / "dog" / "a.wav", 1)
    write_clip(tmp_path / "train" / "dog" / "b.wav", 2)
    write_clip(tmp_path / "test" / "dog" / "c.wav", 3)
    assert len(load_folder(tmp_path).clips) == 3
    shutil.copy(tmp_path / "train" / "dog" / "b.wav", tmp_path / "test" / "dog" / "d.wav")
    with pytest.raises(
        DatasetError, match=r"d.wav \(test\) and .*b.wav \(train\) have the same content"
    ):
        load_folder(tmp_path)


def test_same_content_within_one_split_is_accepted(tmp_path: Path) -> None:
    write_clip(tmp_path / "train" / "dog" / "a.wav", 1)
    write_clip(tmp_path / "train" / "dog" / "b.wav", 1)
    write_clip(tmp_path / "test" / "dog" / "c.wav", 2)
    assert load_folder(tmp_path).counts() == {"train": 2, "test": 1}
