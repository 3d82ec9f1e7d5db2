"""The calibration options of `gmme-edge export`, from the recordings to the bundle's record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from tests.artifacts import small_checkpoint, write_words

DATA = ("--calib-dataset", "folder", "--calib-data", "x")


def export(root: Path, out: Path, *options: object) -> Result:
    arguments = ["export", small_checkpoint(root), "-o", out, "--opset", 17, *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_an_exports_clips_and_ranges_are_recorded_replayed_and_cached(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = write_words(tmp_path / "words", clips_per_class=4)
    common = (
        "--precision", "int8-ort", "--calib-dataset", "speech-commands", "--calib-data", words,
        "--cache", tmp_path / "cache", "--calib-method", "percentile:99.9",
    )  # fmt: skip
    saved = tmp_path / "calibration-clips.json"
    result = export(
        root, tmp_path / "one", *common, "--calib-size", 8, "--calib-seed", 5,
        "--save-calib-clips", saved,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "one" / "calibration.json").read_text(encoding="utf-8"))
    assert record["method"] == "percentile:99.9" and record["n"] == 8 and record["seed"] == 5
    selection = json.loads(saved.read_text(encoding="utf-8"))
    assert selection == {key: record[key] for key in record if key not in ("method", "ranges")}
    assert all(0 <= clip["stratum"] < 4 for clip in selection["clips"])

    def never(*_: object) -> None:
        raise AssertionError("the ranges are cached")

    monkeypatch.setattr("gmme_calibration.ranges.calibrate_ranges", never)
    for name, selected in (("two", saved), ("three", tmp_path / "one" / "calibration.json")):
        result = export(root, tmp_path / name, *common, "--calib-clips", selected)
        assert result.exit_code == 0, result.output
        replayed = json.loads((tmp_path / name / "calibration.json").read_text(encoding="utf-8"))
        assert replayed == record

    changed = words / record["clips"][0]["file"]
    changed.write_bytes(changed.read_bytes()[:-4] + b"\0\0\0\0")
    result = export(root, tmp_path / "four", *common, "--calib-clips", saved)
    assert result.exit_code == 3 and "its SHA-256 differs" in result.stderr
    assert not (tmp_path / "four").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--calib-method", "kl"), "Unknown calibration method"),
        (("--calib-clips", "x"), "without --calib-data"),
        (("--save-calib-clips", "x"), "without --calib-data"),
        ((*DATA, "--calib-clips", "x", "--calib-size", 3), "no --calib-size"),
        ((*DATA, "--calib-clips", "x", "--calib-seed", 3), "no --calib-seed"),
    ],
)
def test_contradictions_are_exit_code_2(
    root: Path, tmp_path: Path, options: tuple[object, ...], reason: str
) -> None:
    result = export(root, tmp_path / "out", *options)
    assert result.exit_code == 2 and reason in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_recording_is_exit_code_3(root: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"RIFF and no more")
    result = export(
        root, tmp_path / "out", "--precision", "int8-ort", "--calib-dataset", "unlabelled",
        "--calib-data", tmp_path, "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert result.exit_code == 3 and "noise.wav" in result.stderr
    assert not (tmp_path / "out").exists()
