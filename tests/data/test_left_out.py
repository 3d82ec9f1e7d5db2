"""What looks like a part of a data set and is none is told, and stands in the results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gmme_calibration.selection import open_source
from gmme_edge.data.dataset import count_reasons
from gmme_edge.data.folder import load_folder
from gmme_edge.data.manifest import load_manifest
from gmme_edge.data.registry import open_dataset
from gmme_edge.errors import DatasetError
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.observer import Observer
from gmme_edge.report.documents import AccuracyResult, load_result
from gmme_edge.workflows.evaluating import evaluate
from gmme_edge.workflows.int8 import calibration_clips
from gmme_edge.workflows.predicting import list_recordings
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_edge.workflows.settings.evaluating import EvaluationClips, EvaluationSettings
from gmme_edge.workflows.settings.training import (
    LearningData,
    MachineSettings,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
)
from gmme_edge.workflows.training import TrainingJob, train
from gmme_edge.workflows.training_observer import TrainingObserver
from tests.data.trees import write_clip, write_table

CLASSES = ("_silence_", "_unknown_", "dog")  # the first two are real classes of keyword spotters
ODD = {
    "dog/phone.m4a": ".m4a is no format of recordings",
    "dog/notes.txt": ".txt is no format of recordings",
    "dog/deeper": "a folder within a class",
    "dog/gone.wav": "a link to nothing",
    "stray.wav": "a recording outside the folders of classes",
    "away": "a link to nothing",
}


class Notes(TrainingObserver):
    def __init__(self) -> None:
        self.left_out: list[str] = []

    def note(self, text: str) -> None:
        if text.startswith("left out: "):
            self.left_out.append(text.removeprefix("left out: "))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root, rng = tmp_path / "sounds", np.random.default_rng(4)
    for label in CLASSES:
        (root / label).mkdir(parents=True)
        for i in range(4):
            soundfile.write(root / label / f"{i}.wav", rng.normal(0, 0.1, 1200), 8000)
    (root / "dog/phone.m4a").write_bytes(b"sound")
    (root / "dog/notes.txt").write_text("text")
    write_clip(root / "dog/deeper/x.wav", 9)
    (root / "dog/gone.wav").symlink_to("nowhere.wav")
    write_clip(root / "stray.wav", 10)
    (root / "away").symlink_to("nowhere")
    (root / ".hidden").mkdir()
    (root / "dog" / ".DS_Store").touch()
    return root


def expected(root: Path) -> set[str]:
    return {f"{root / name}: {reason}" for name, reason in ODD.items()}


def test_what_is_left_out_is_listed_with_its_reason(tree: Path) -> None:
    dataset = load_folder(tree)
    assert dataset.labels == CLASSES and len(dataset.clips) == 12
    found = {str(one.path.relative_to(tree)): one.reason for one in dataset.left_out}
    assert found == ODD
    assert count_reasons(dataset.left_out) == dict(Counter(ODD.values()))


def test_it_reaches_training_evaluation_and_calibration(tree: Path, tmp_path: Path) -> None:
    """By a note each, and as counts in checkpoint, result and calibration record."""
    cache, counts = tmp_path / "cache", dict(Counter(ODD.values()))
    notes, out = Notes(), tmp_path / "checkpoint"
    job = TrainingJob(
        data=LearningData(dataset="folder", data=tree, cache=cache),
        run=RunSettings(output=out),
        network=NetworkSettings(
            model="eat-s-gmme-k6c4",
            task="speech-commands",
            sample_rate=8000,
            samples=1024,
            factors="2,2",
        ),
        recipe=RecipeSettings(epochs=1, batch_size=6),
        machine=MachineSettings(device="cpu", threads=1, tensorboard=False),
    )
    train(job, notes)
    assert set(notes.left_out) == expected(tree) and len(notes.left_out) == len(ODD)
    checkpoint = load_checkpoint(out)
    assert checkpoint.training["data"]["left_out"] == counts

    notes = Notes()
    clips = EvaluationClips(dataset="folder", data=tree, cache=cache)
    evaluate(out, clips, EvaluationSettings(output=tmp_path / "result.json"), notes)
    assert set(notes.left_out) == expected(tree)
    result = load_result(tmp_path / "result.json")
    assert isinstance(result, AccuracyResult) and result.left_out == counts

    notes = Notes()
    source = open_source("folder", tree, observer=notes)
    assert set(notes.left_out) == expected(tree)
    wanted = CalibrationSettings(calib_dataset="folder", calib_data=tree, calib_size=3)
    chosen = calibration_clips(checkpoint.spec, source, wanted, ClipSettings(cache=cache))
    assert chosen.to_dict()["left_out"] == counts


def test_unlabelled_recordings_are_taken_at_any_depth_and_the_rest_is_told(tree: Path) -> None:
    notes = Notes()
    source = open_source("unlabelled", tree, observer=notes)
    assert len(source.training) == 14  # the stray one and that of the deeper folder, too
    assert {text.partition(": ")[2] for text in notes.left_out} == {
        ".m4a is no format of recordings",
        ".txt is no format of recordings",
        "a link to nothing",
    }


def test_folders_to_predict_name_what_cannot_be_decoded(tree: Path) -> None:
    notes = Notes()
    found = list_recordings([tree / "dog"], observer=notes)
    assert [path.name for path in found] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert notes.left_out == [f"{tree}/dog/phone.m4a: .m4a is no format of recordings"]


def test_many_are_counted(tree: Path) -> None:
    for i in range(30):
        (tree / "dog" / f"{i}.m4a").touch()
    notes = Notes()
    open_dataset("folder", tree, observer=notes)
    assert len(notes.left_out) == 21 and notes.left_out[-1] == "16 more"


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_two_spellings_of_a_folder_are_one_class(tmp_path: Path) -> None:
    """macOS writes decomposed names, Linux composed ones; an archive may hold both."""
    for i in range(5):
        write_clip(tmp_path / DECOMPOSED / f"{i}.wav", i)
        write_clip(tmp_path / COMPOSED / f"{i}.wav", 10 + i)
        write_clip(tmp_path / "dog" / f"{i}.wav", 20 + i)
    for fold in (None, 1):
        dataset = open_dataset("folder", tmp_path, fold)
        assert dataset.labels == (COMPOSED, "dog")
        assert Counter(clip.label for clip in dataset.clips) == {0: 10, 1: 5}


def test_two_spellings_in_splits_and_tables_are_one_class(tmp_path: Path) -> None:
    names = {f"train/{DECOMPOSED}/a.wav", f"test/{COMPOSED}/b.wav", "train/dog/c.wav"}
    for seed, name in enumerate(sorted(names)):
        write_clip(tmp_path / name, seed)
    dataset = open_dataset("folder", tmp_path)
    assert dataset.labels == (COMPOSED, "dog") and dataset.select("test")[0].label == 0
    rows = [(f"train/{DECOMPOSED}/a.wav", DECOMPOSED, "train"), ("train/dog/c.wav", "dog", "train")]
    rows += [(f"test/{COMPOSED}/b.wav", COMPOSED, "test")]
    table = write_table(tmp_path / "clips.csv", "path,label,split", rows)
    assert load_manifest(table).labels == (COMPOSED, "dog")


@pytest.mark.parametrize("header", ["path,label,split,label", "path,label,split,,"])
def test_a_table_with_two_columns_of_a_name_is_refused(tmp_path: Path, header: str) -> None:
    write_clip(tmp_path / "a.wav", 1)
    cells = ("a.wav", "dog", "train", "cat", "x")[: header.count(",") + 1]
    with pytest.raises(DatasetError, match="two columns"):
        load_manifest(write_table(tmp_path / "clips.csv", header, [cells]))


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    for i in range(3):
        write_clip(tmp_path / "dog" / f"{i}.wav", i)
    with pytest.raises(DatasetError, match="has one class, dog"):
        open_dataset("folder", tmp_path, observer=Observer())
