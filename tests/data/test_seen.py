"""Which clips a model knows from its training."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmme_edge.data.dataset import Clip, Split
from gmme_edge.data.seen import fingerprints, inherit, judge_seen, refuse_own_test, refuse_seen
from gmme_edge.errors import UsageError

FOLD_5 = {"dataset": "esc10", "fold": 5}


def clip(split: Split = "test", path: str = "absent.wav") -> Clip:
    return Clip(Path(path), 0, split)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Clip]:
    clips = []
    for number in range(4):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(bytes([number]))
        clips.append(Clip(path, 0, "test"))
    return clips


@pytest.mark.parametrize(
    ("origin", "dataset", "fold", "split", "state"),
    [
        (FOLD_5, "esc10", 5, "test", "unseen"),
        (FOLD_5, "esc10", 1, "test", "seen"),
        (FOLD_5, "esc50", 1, "test", "seen"),
        (FOLD_5, "esc10", 5, "train", "seen"),
        (FOLD_5, "urbansound8k", 1, "test", "unseen"),
        (FOLD_5, "folder", None, "test", "unseen"),
        ({"dataset": "speech-commands", "fold": None}, "speech-commands", None, "test", "unseen"),
        ({"dataset": "speech-commands", "fold": None}, "speech-commands", None, "train", "seen"),
        ({"dataset": "folder", "fold": None}, "folder", None, "test", "unknown"),
        ({}, "esc10", 1, "test", "unknown"),
    ],
)
def test_a_division_tells_which_clips_a_model_knows(
    origin: dict[str, object], dataset: str, fold: int | None, split: Split, state: str
) -> None:
    assert judge_seen(origin, dataset, fold, [clip(split)]).state == state


def test_recordings_of_ones_own_are_known_by_their_content(recordings: list[Clip]) -> None:
    trained = fingerprints(each.path for each in recordings[:2])
    origin = {"dataset": "folder", "fold": None, "fingerprints": trained}
    assert judge_seen(origin, "folder", None, recordings[2:]).state == "unseen"
    moved = recordings[0].path.rename(recordings[0].path.with_name("other name.wav"))
    assert judge_seen(origin, "csv", None, [clip(path=str(moved))]).state == "seen"


def test_a_test_on_training_clips_is_refused_and_stated(recordings: list[Clip]) -> None:
    with pytest.raises(UsageError, match=r"--fold 5.*--allow-seen"):
        refuse_seen(FOLD_5, "esc10", 1, [clip()])
    assert refuse_seen(FOLD_5, "esc10", 1, [clip()], allow_seen=True).to_dict() == {
        "state": "seen", "reason": "it was trained on all folds of esc10 but 5",
    }  # fmt: skip
    origin = {"dataset": "csv", "fingerprints": fingerprints([recordings[0].path])}
    with pytest.raises(UsageError, match="1 of the 4 clips"):
        refuse_seen(origin, "folder", None, recordings)


def test_calibration_on_a_models_own_test_fold_is_refused() -> None:
    with pytest.raises(UsageError, match=r"tested on fold 5.*\n.*--fold 5"):
        refuse_own_test(FOLD_5, "esc10", 1, [clip("train")])
    assert refuse_own_test(FOLD_5, "esc10", 5, [clip("train")]).state == "seen"
    assert refuse_own_test(FOLD_5, "esc10", 1, [clip("train")], allow_seen=True).state == "seen"
    assert refuse_own_test(FOLD_5, "folder", 1, [clip("train")]).state == "unseen"


def test_a_tuned_network_knows_what_it_started_from_has_heard(recordings: list[Clip]) -> None:
    first = {"dataset": "folder", "fold": None, "fingerprints": fingerprints([recordings[0].path])}
    own = {"fingerprints": fingerprints([recordings[1].path])}
    second = {"dataset": "csv", "fold": None, **inherit(first, own)}
    assert judge_seen(second, "folder", None, recordings[:1]).state == "seen"
    assert judge_seen(second, "folder", None, recordings[1:2]).state == "seen"
    assert judge_seen(second, "folder", None, recordings[2:]).state == "unseen"
    assert inherit({}, own) == own


def test_a_tuned_network_knows_the_folds_of_its_ancestors(recordings: list[Clip]) -> None:
    child = {"dataset": "folder", "fold": None, **inherit(FOLD_5, {})}
    grandchild = {"dataset": "urbansound8k", "fold": 2, **inherit(child, {})}
    for origin in (child, grandchild):
        assert judge_seen(origin, "esc50", 1, [clip()]).state == "seen"
        assert judge_seen(origin, "esc50", 5, [clip()]).state == "unseen"
    assert judge_seen(grandchild, "urbansound8k", 1, [clip()]).state == "seen"


@pytest.mark.parametrize("before", [None, 3, "esc10", [3], [{}], [{"dataset": []}], {"dataset": 1}])
def test_damaged_notes_of_ancestors_are_left_out(before: object) -> None:
    assert judge_seen({**FOLD_5, "before": before}, "esc10", 5, [clip()]).state == "unseen"
