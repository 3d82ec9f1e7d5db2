from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gmme_calibration.sample import CalibrationSet, calibration_set
from gmme_calibration.selection import (
    Source,
    load_selection,
    open_source,
    refuse_held_out,
    save_selection,
)
from gmme_edge.bundle.bundle import describe_file
from gmme_edge.data.dataset import Clip
from gmme_edge.data.store import load_waveforms
from gmme_edge.errors import BundleError, DatasetError, UsageError
from tests.bundles import make_bundle
from tests.data.trees import write_clip, write_table


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Two words of four training clips each, one to validate and one to test."""
    for word in ("no", "yes"):
        for i in range(6):
            write_clip(tmp_path / "words" / word / f"{i}.wav", len(word) * 10 + i)
    for i, name in enumerate(("testing", "validation")):
        lines = f"no/{i}.wav\nyes/{i}.wav\n"
        (tmp_path / "words" / f"{name}_list.txt").write_text(lines, encoding="utf-8")
    return tmp_path / "words"


def select(source: Source, tmp_path: Path, size: int, seed: int = 0) -> CalibrationSet:
    store = load_waveforms(source.candidates(size, seed), 8000, tmp_path / "cache")
    return calibration_set(store, source.labels, 400, source.name, seed, size, source.root)


def replay(file: Path, source: Source, tmp_path: Path) -> CalibrationSet:
    chosen = load_selection(file, source)
    store = load_waveforms(chosen.clips, 8000, tmp_path / "cache")
    return chosen.replay(store, source, 400)


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values), encoding="utf-8")
    return file


def test_training_clips_of_a_data_set(words: Path) -> None:
    source = open_source("speech-commands", words)
    assert source.name == "speech-commands, train" and source.root == words
    assert {clip.path.stem for clip in source.training} == {"2", "3", "4", "5"}
    assert {clip.path.stem for clip in source.held_out} == {"0", "1"}


def test_a_data_set_in_folds_lends_training_clips_for_validation(tmp_path: Path) -> None:
    for word in ("no", "yes"):
        for i in range(10):
            write_clip(tmp_path / "words" / word / f"{i}.wav", len(word) * 10 + i)
    plain = open_source("folder", tmp_path / "words", 1)
    source = open_source("folder", tmp_path / "words", 1, validate=True)
    assert (len(plain.training), len(plain.validation)) == (16, 0)
    assert (len(source.training), len(source.validation)) == (10, 6)
    assert set(source.training) | {replace(c, split="train") for c in source.validation} == set(
        plain.training
    )
    refuse_held_out(select(source, tmp_path, 10), source)
    with pytest.raises(DatasetError, match="belongs to validation"):
        refuse_held_out(select(plain, tmp_path, 16), source)
    with pytest.raises(UsageError, match="unlabelled"):
        open_source("unlabelled", tmp_path / "words", validate=True)


def test_recordings_without_labels(tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / "all" / name) for name in ("a.wav", "deep/er/b.flac")]
    write_clip(tmp_path / "all" / ".hidden.wav")
    (tmp_path / "all" / "notes.txt").write_text("no audio")
    source = open_source("unlabelled", tmp_path / "all")
    assert [clip.path for clip in source.training] == paths and source.held_out == ()
    table = write_table(tmp_path / "all" / "some.csv", "path,remark", [("deep/er/b.flac", "loud")])
    source = open_source("unlabelled", table)
    assert [clip.path for clip in source.training] == paths[1:]
    assert source.root == tmp_path / "all" and source.labels == ("unlabelled",)
    assert select(source, tmp_path, 5).clips[0]["file"] == "deep/er/b.flac"


def test_no_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no recordings"):
        open_source("unlabelled", tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        open_source("unlabelled", tmp_path / "absent")
    with pytest.raises(UsageError, match="Unknown data set"):
        open_source("labelled", tmp_path)


def test_a_selection_replays_anywhere(words: Path, tmp_path: Path) -> None:
    clips = select(open_source("speech-commands", words), tmp_path, 5, seed=3)
    save_selection(clips, tmp_path / "calibration-clips.json")
    moved = Path(shutil.move(words, tmp_path / "elsewhere"))
    source = open_source("speech-commands", moved)
    again = replay(tmp_path / "calibration-clips.json", source, tmp_path)
    assert again.to_dict() == clips.to_dict()
    assert len(again.waveforms) == 5 and again.seed == 3


def test_a_bundles_record_replays_too(words: Path, tmp_path: Path) -> None:
    source = open_source("speech-commands", words)
    clips = select(source, tmp_path, 4)
    save_selection(clips, tmp_path / "calibration.json")
    edit(tmp_path / "calibration.json", lambda values: values.update(ranges={"x": [0, 1]}))
    assert replay(tmp_path / "calibration.json", source, tmp_path).to_dict() == clips.to_dict()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v["clips"][0].update(sha256="0" * 64), "its SHA-256 differs"),
        (lambda v: v["clips"][0].update(sha256=""), "its SHA-256 differs"),
        (lambda v: v["clips"][0].update(file="no/99.wav"), "does not exist"),
        (lambda v: v["clips"][0].update(file="no"), "does not exist"),
        (lambda v: v["clips"][0].update(label="maybe"), "of class 'maybe'"),
        (lambda v: v["clips"].append(v["clips"][0]), "twice"),
        (lambda v: v["clips"][0].pop("sha256"), "lists no clips"),
        (lambda v: v.pop("clips"), "lists no clips"),
        (lambda v: v.update(clips=3), "lists no clips"),
        (lambda v: v.update(seed="x"), "lists no clips"),
        (lambda v: v.update(schema=2), "has schema 2"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(
    words: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    source = open_source("speech-commands", words)
    file = tmp_path / "clips.json"
    save_selection(select(source, tmp_path, 4), file)
    with pytest.raises(DatasetError, match=reason):
        load_selection(edit(file, change), source)


def test_an_empty_selection_is_refused(words: Path, tmp_path: Path) -> None:
    source = open_source("speech-commands", words)
    save_selection(select(source, tmp_path, 4), tmp_path / "clips.json")
    file = edit(tmp_path / "clips.json", lambda values: values.update(clips=[]))
    with pytest.raises(DatasetError, match="no recordings"):
        replay(file, source, tmp_path)


def test_training_clips_are_no_leak(words: Path, tmp_path: Path) -> None:
    source = open_source("speech-commands", words)
    refuse_held_out(select(source, tmp_path, 100), source)


@pytest.mark.parametrize("held_out", ["no/0.wav", "yes/1.wav"])
def test_a_selected_test_or_validation_clip_is_refused(
    words: Path, tmp_path: Path, held_out: str
) -> None:
    """By its path, and behind a link's name."""
    source = open_source("speech-commands", words)
    (words / "no" / "link.wav").symlink_to(words / held_out)
    for file in (words / held_out, words / "no" / "link.wav"):
        store = load_waveforms([Clip(file, 0, "train")], 8000, tmp_path / "cache")
        clips = calibration_set(store, source.labels, 400, "made", 0, root=words)
        with pytest.raises(DatasetError, match="is the same file as"):
            refuse_held_out(clips, source)


def test_a_copy_of_a_test_clip_is_refused(words: Path, tmp_path: Path) -> None:
    shutil.copy(words / "yes" / "0.wav", words / "yes" / "copy.wav")
    source = open_source("speech-commands", words)
    with pytest.raises(DatasetError, match=r"copy\.wav has the same content as .*0\.wav.* test"):
        refuse_held_out(select(source, tmp_path, 100), source)


def test_a_bundles_selection_is_the_file_that_its_manifest_lists(
    words: Path, tmp_path: Path
) -> None:
    source = open_source("speech-commands", words)
    bundle = make_bundle(tmp_path / "bundle")
    selection = bundle.path / "calibration.json"
    save_selection(select(source, tmp_path, 4), selection)
    files = (describe_file(bundle.path, selection.name, "calibration"), *bundle.manifest.files)
    replace(bundle, manifest=replace(bundle.manifest, files=files)).save_manifest()
    assert load_selection(selection, source).clips
    edit(selection, lambda values: values.update(seed=7))
    with pytest.raises(BundleError, match="not the file that was exported"):
        load_selection(selection, source)


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**400, "7x", None])
def test_a_selection_whose_seed_is_no_whole_number(
    words: Path, tmp_path: Path, number: object
) -> None:
    source = open_source("speech-commands", words)
    save_selection(select(source, tmp_path, 4), tmp_path / "chosen.json")
    edit(tmp_path / "chosen.json", lambda values: values.update(edges_dbfs=[], seed=number))
    if number == 10**400:
        edit(tmp_path / "chosen.json", lambda values: values.update(edges_dbfs=[10**400], seed=0))
    with pytest.raises(DatasetError, match="lists no clips"):
        load_selection(tmp_path / "chosen.json", source)
