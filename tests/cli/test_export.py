from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.audio import read_audio
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import MissingDependencyError
from gmme_edge.files import sha256_of
from gmme_edge.models.checkpoint import save_checkpoint
from gmme_edge.observer import Observer
from gmme_edge.workflows import exporting, sensitivity
from gmme_edge.workflows.int8 import synthetic_clips
from tests.artifacts import (
    RATE_HZ,
    WORDS,
    open_checkpoint,
    small_checkpoint,
    small_spec,
    write_words,
)
from tests.bundles import make_bundle


def export(source: object, out: Path, *options: object) -> Result:
    arguments = ["export", source, "-o", out, "--opset", 17, *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"), clips_per_class=4)


def test_a_checkpoint_becomes_a_bundle(root: Path, tmp_path: Path) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    bundle = Bundle.open(tmp_path / "out")
    assert json.loads(result.stdout) == json.loads((bundle.path / "manifest.json").read_text())
    assert bundle.precisions == ("fp32", "fp16") and bundle.manifest.labels == WORDS
    assert bundle.manifest.parity["fp32"]["n_clips"] == 20
    assert [file.opset for file in bundle.manifest.files[:2]] == [17, 17]
    assert not bundle.manifest.untrained


def test_incremental_graphs_come_with_a_whole_hop_and_go_again(root: Path, tmp_path: Path) -> None:
    """The nearest whole number of tokens, 2 ms each, and a word about it; checked and recorded."""
    source, out = small_checkpoint(root), tmp_path / "out"
    result = export(source, out, "--precision", "fp32", "--incremental-hop-ms", 8.9)
    assert result.exit_code == 0, result.stderr
    assert "incremental hop: 8.0 ms, 4 tokens" in result.stderr
    manifest = Bundle.open(out).manifest
    noted = manifest.provenance["incremental"]
    assert noted["hop_samples"] == 64 and 0 < noted["parity"]["relative"] < 1e-5
    roles = [f.role for f in manifest.files if f.path.startswith("incremental")]
    assert roles == ["incremental-start", "incremental-step"]
    result = export(source, out, "--precision", "fp32")
    assert result.exit_code == 0 and not list(out.glob("incremental*"))


def test_a_hop_with_which_nothing_is_shared(root: Path, tmp_path: Path) -> None:
    done = export(small_checkpoint(root), tmp_path / "out", "--incremental-hop-ms", 120)
    assert done.exit_code == 2 and "a hop of 960 samples" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "target", "n_rewrites"),
    [
        ([], "ort-cpu", 4),
        (["--target", "tensorrt"], "tensorrt", 3),
        (["--no-lowering"], "generic", 0),
        (["--compact"], "ort-cpu", 4),
        (["--compact", "--target", "tensorrt"], "tensorrt", 3),
    ],
)
def test_the_manifest_names_the_target_and_its_rewrites(
    root: Path, tmp_path: Path, options: list[str], target: str, n_rewrites: int
) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", "--precision", "fp32", *options)
    assert result.exit_code == 0, result.stderr
    manifest = Bundle.open(tmp_path / "out").manifest
    assert {file.target for file in manifest.files if file.role == "model"} == {target}
    assert {name: len(names) for name, names in manifest.provenance["lowering"].items()} == {
        target: n_rewrites
    }


@pytest.mark.parametrize(
    "options",
    [
        ["--target", "abacus"],
        ["--target", "ort-cpu", "--no-lowering"],
    ],
)
def test_targets_that_contradict_are_refused(
    root: Path, tmp_path: Path, options: list[str]
) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", *options)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_int8_is_calibrated_on_training_clips_only(root: Path, words: Path, tmp_path: Path) -> None:
    result = export(
        small_checkpoint(root), tmp_path / "out", "--precision", "int8", "--no-embedding",
        "--calib-dataset", "speech-commands", "--calib-data", words, "--calib-size", 15,
        "--calib-seed", 3, "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "int8-ort, int8-tensorrt" in result.stdout
    record = json.loads((tmp_path / "out" / "calibration.json").read_text())
    files = [clip["file"] for clip in record["clips"]]
    held_out = (words / "validation_list.txt").read_text() + (
        words / "testing_list.txt"
    ).read_text()
    assert len(files) == len(set(files)) == 15
    assert set(files).isdisjoint(held_out.split()) and len(held_out.split()) == 20
    assert set(Counter(clip["label"] for clip in record["clips"]).values()) == {1, 2}
    assert [clip["sha256"] for clip in record["clips"]] == [
        sha256_of(words / file) for file in files
    ]
    assert (record["source"], record["seed"]) == ("speech-commands, train", 3)
    # Those clips, not others, are what was compared and what the golden vectors hold.
    golden = Bundle.open(tmp_path / "out").golden()["waveform"]
    expected = [read_audio(words / file, RATE_HZ) for file in files[:4]]
    np.testing.assert_array_equal(golden, np.stack(expected))


def test_int8_without_clips_is_exit_code_2(root: Path, tmp_path: Path) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", "--precision", "fp32,int8")
    assert result.exit_code == 2 and "--calib-dataset" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_parity_failure_is_exit_code_5_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export(small_checkpoint(root), out, "--precision", "fp32", "--max-error", 0)
    assert result.exit_code == 5 and "The exported fp32 graph disagrees" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert export(small_checkpoint(root), out, "--precision", "fp32").exit_code == 0
    before = (out / "manifest.json").read_bytes()
    aa = small_checkpoint(root, "aa")
    result = export(aa, out, "--precision", "fp32", "--max-error", 0, "--force")
    assert result.exit_code == 5
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_ctrl_c_is_130_and_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gmme_exporters.bundle.compare_logits", interrupt)
    assert export(small_checkpoint(root), tmp_path / "out").exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_checkpoint_is_exported_with_a_warning(root: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(root)
    training = {"finished": False, "history": [{"epoch": 2}], "recipe": {"epochs": 25}}
    state = checkpoint.model.state_dict()
    save_checkpoint(tmp_path / "c", checkpoint.spec, state, checkpoint.labels, training)
    result = export(tmp_path / "c", tmp_path / "out", "--precision", "fp32", "--no-embedding")
    assert result.exit_code == 0, result.stderr
    told = "the training is unfinished: it ended in epoch 2 of 25"
    assert f"warning: {told}" in " ".join(result.stderr.split())
    assert told in Bundle.open(tmp_path / "out").manifest.provenance["unfinished_training"]


def test_a_page_without_its_runtime_is_told_before_torch_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("torch is loaded")

    monkeypatch.setattr(exporting, "require_exporters", load)
    words = ("export", "digits", "-o", tmp_path / "out", "--web", tmp_path / "page")
    result = CliRunner().invoke(app, [*map(str, words), "--ort-web", str(tmp_path)])
    assert result.exit_code == MissingDependencyError.exit_code
    assert "npm install" in result.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["export", "sensitivity"])
def test_a_wrong_path_is_told_before_torch_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("torch is loaded")

    for module in (exporting, sensitivity):
        monkeypatch.setattr(module, "require_exporters", load)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / "cross-validation.json").touch()
    bundle = make_bundle(tmp_path / "bundle").path
    for source, lacks in {
        tmp_path / "gone": "there is no such folder",
        tmp_path / "file": "it is a file",
        tmp_path / "folder": "it has no model.json",
        tmp_path / "folds": "it is a cross-validation, whose folders fold-1, … are checkpoints",
        bundle: "it is a bundle without model.json",
    }.items():
        data = () if command == "export" else ("--dataset", "folder", "--data", tmp_path)
        arguments = [command, source, "-o", tmp_path / "out", *data]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 3
        assert f"{source} is no checkpoint: {lacks}.\n" in result.stderr


def test_a_wrong_output_is_told_before_torch_is_loaded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("torch is loaded")

    monkeypatch.setattr(exporting, "require_exporters", load)
    (tmp_path / "file").touch()
    source = small_checkpoint(root)
    for output, told in {
        source: "is the folder of the model that is exported",
        tmp_path / "file": "exists and is no bundle but a file",
    }.items():
        result = CliRunner().invoke(app, ["export", str(source), "-o", str(output)])
        assert result.exit_code == 2
        assert f"{output} {told}.\n" in result.stderr


def test_while_torch_is_loaded_that_is_shown() -> None:
    told: list[str] = []

    class Watching(Observer):
        def stage(self, name: str) -> None:
            told.append(name)

    exporting.require_exporters(Watching())
    assert told == ["load PyTorch"]


@pytest.mark.parametrize("command", ["predict", "verify", "profile", "evaluate"])
def test_a_bundle_that_is_not_there_is_told_from_what_is_none(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    more = {"predict": ("a.wav",), "evaluate": ("--dataset", "folder", "--data", str(tmp_path))}
    for name, told in {
        "gone": "gone does not exist.",
        "file": "file is no bundle: it is a file.",
        "folder": "folder is no bundle: it has no manifest.json.",
    }.items():
        given = [command, str(tmp_path / name), *more.get(command, ())]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 3 and f"/{told}\n" in result.stderr, result.stderr


def test_another_folder_is_not_replaced(root: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"me")
    result = export(small_checkpoint(root), tmp_path)
    assert result.exit_code == 2 and "is no bundle" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--precision", "fp8"), "Unknown precision"),
        (("--precision", ","), "Unknown precision"),
        (("--opset", "12"), "13 to 22"),
        (("--opset", "23"), "13 to 22"),
        (("--calib-data", "x"), "belong together"),
        (("--calib-dataset", "folder"), "belong together"),
        (("--calib-dataset", "mnist", "--calib-data", "x"), "Unknown data set"),
        (("--sm", "89"), "--engine tensorrt-rtx"),
        (("--max-float-macs", "5"), "--max-float-macs without --max-accuracy-drop"),
        (("--calib-size", "5"), "--calib-size without --calib-data"),
        (("--engine", "tensorrt-rtx", "--sm", "ada"), "numbers such as"),
        (("--engine", "tvm"), "Unknown engine flavour"),
        (("--engine", "tensorrt", "--sm", "87"), "no sm"),
        (("--classes", "3"), "for --untrained"),
        (("--task", "esc50"), "for --untrained"),
    ],
)
def test_wrong_options_are_exit_code_2(
    root: Path, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", *options)
    assert result.exit_code == 2, result.output
    assert reason in result.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("eat-s-aa", (), "needs a --task"),
        ("eat-xl", ("--task", "esc50"), "Unknown model"),
        ("eat-s-aa", ("--task", "mnist"), "Unknown task"),
    ],
)
def test_wrong_presets_are_exit_code_2(
    tmp_path: Path, source: str, options: tuple[str, ...], reason: str
) -> None:
    result = export(source, tmp_path / "out", "--untrained", *options)
    assert result.exit_code == 2 and reason in result.stderr


def test_no_checkpoint_is_exit_code_3(tmp_path: Path) -> None:
    assert export(tmp_path, tmp_path / "out").exit_code == 3


def test_generated_clips_stand_in() -> None:
    clips = synthetic_clips(small_spec())
    assert clips.waveforms.shape == (20, 1024) and clips.source == "synthetic"
    assert not any(clip["sha256"] for clip in clips.clips)


@pytest.mark.slow
def test_a_preset_with_random_weights(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export(
        "eat-s-gmme-k32c8", out, "--untrained", "--task", "speech-commands", "--classes", 4,
        "--precision", "fp32,int8", "--opset", 18,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    manifest = Bundle.open(out).manifest
    assert manifest.untrained and manifest.labels == tuple(f"class {i}" for i in range(4))
    assert manifest.parity["fp32"]["relative"] < 1e-5
    assert manifest.model.n_samples == 16_384
    assert str(Path(__file__).parents[2]).encode() not in (out / "model.fp32.onnx").read_bytes()


@pytest.mark.slow
def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    """As Ctrl-C; what stops a container sends it."""
    words = ("export", "digits-edge", "-o", "out", "--precision", "fp32", "--opset", "17")
    command = [sys.executable, "-m", "gmme_edge.cli.app", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.iterdir()):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and told.endswith("interrupted\n"), told
    assert not list(tmp_path.iterdir())
