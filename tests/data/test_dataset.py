from pathlib import Path

import pytest

from gmme_edge.data.dataset import Clip, Dataset
from gmme_edge.errors import DatasetError

A = Clip(Path("a.wav"), 0, "train", "field")
B = Clip(Path("b.wav"), 0, "test")


def test_select_sorts_and_names_what_there_is() -> None:
    dataset = Dataset("birds", ("wren",), (B, A, Clip(Path("0.wav"), 0, "train")))
    assert [clip.path.name for clip in dataset.select("train")] == ["0.wav", "a.wav"]
    assert dataset.counts() == {"train": 2, "test": 1}
    with pytest.raises(DatasetError, match=r"birds has no validation clips.\n.*test, train"):
        dataset.select("validation")


def test_no_clips_is_an_error() -> None:
    with pytest.raises(DatasetError, match="birds has no clips"):
        Dataset("birds", ("wren",), ())


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip(Path("a.wav"), 0, "test"), r"the file a\.wav is in test, train \(1 such\)"),
        (Clip(Path("c.wav"), 0, "test", "field"), "the source recording field is in test, "),
    ],
)
def test_a_file_or_source_in_two_splits_is_refused(clip: Clip, message: str) -> None:
    with pytest.raises(DatasetError, match=f"birds leaks: {message}"):
        Dataset("birds", ("wren",), (A, B, clip))


def test_clips_without_a_source_share_none() -> None:
    assert len(Dataset("birds", ("wren",), (B, Clip(Path("c.wav"), 0, "train"))).clips) == 2
