"""Holding out validation clips: whole sources, every class, nothing of the test split."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.data.dataset import Clip, Dataset
from gmme_edge.data.holdout import SHARE, with_validation
from gmme_edge.data.registry import open_dataset
from gmme_edge.errors import DatasetError
from tests.data.trees import shared


def dataset_of(sources: list[tuple[int, int]], n_test: int = 2) -> Dataset:
    """Per source its class and its number of clips; a source of one clip has no name."""
    clips = [
        Clip(Path(f"{s}-{i}.wav"), label, "train", f"source {s}" if n > 1 else "")
        for s, (label, n) in enumerate(sources)
        for i in range(n)
    ]
    clips += [Clip(Path(f"test-{i}.wav"), 0, "test") for i in range(n_test)]
    return Dataset("made up", ("a", "b", "c"), tuple(clips))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=20),
    st.integers(0, 5),
    st.floats(0.05, 0.6),
)
def test_whole_sources_of_every_class_validate(
    more: list[tuple[int, int]], seed: int, share: float
) -> None:
    sources = [(label, 1) for label in (0, 0, 1, 1, 2, 2)] + more
    before = dataset_of(sources)
    after = with_validation(before, seed, share)  # its constructor refuses a divided source
    assert [clip.path for clip in after.clips] == [clip.path for clip in before.clips]
    assert after.select("test") == before.select("test")
    totals = Counter(clip.label for clip in before.select("train"))
    held = Counter(clip.label for clip in after.select("validation"))
    assert set(held) == {0, 1, 2} == {clip.label for clip in after.select("train")}
    for label in held:
        assert held[label] <= share * totals[label] or held[label] == 1
    assert after == with_validation(before, seed, share)


def test_a_source_of_several_classes_stays_whole() -> None:
    """Four speakers who each say every word."""
    clips = [
        Clip(Path(f"{speaker}-{word}-{take}.wav"), word, "train", f"speaker {speaker}")
        for speaker in range(4)
        for word in range(3)
        for take in range(2)
    ]
    after = with_validation(Dataset("words", ("a", "b", "c"), tuple(clips)))
    assert len({clip.group for clip in after.select("validation")}) == 1
    assert len(after.select("validation")) == 6


def test_a_class_of_one_source_is_refused() -> None:
    with pytest.raises(DatasetError, match="class 'b' in made up come from one source"):
        with_validation(dataset_of([(0, 1), (0, 1), (1, 5)]))


def test_a_validation_split_of_its_own_stays() -> None:
    dataset = open_dataset("speech-commands", shared("FSDD"))
    assert with_validation(dataset) is dataset


def test_esc10_holds_out_two_fifths_of_each_class_by_source() -> None:
    """The published table is read again here, without the loaders."""
    root = shared("ESC-10")
    after = with_validation(open_dataset("esc10", root, 5))
    with (root / "meta/esc50.csv").open() as file:
        rows = {Path(row["filename"]).stem: row for row in csv.DictReader(file)}
    parts = [{clip.path.stem for clip in after.select(s)} for s in ("train", "validation")]  # type: ignore[arg-type]
    assert all(rows[name]["fold"] != "5" for part in parts for name in part)
    sources = [{(rows[n]["src_file"], rows[n]["category"]) for n in part} for part in parts]
    assert not sources[0] & sources[1]
    held = Counter(rows[name]["category"] for name in parts[1])
    assert set(held.values()) <= {int(32 * SHARE) - 1, int(32 * SHARE)}
    other = with_validation(open_dataset("esc10", root, 5), seed=1)
    assert {clip.path.stem for clip in other.select("validation")} != parts[1]
