"""A recording that cannot be decoded is exit code 3, whichever command meets it.

Where others were done, it is 9: see the tests of `predict` and `scan`, which have those of several
recordings; `similar` has its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from tests.artifacts import WORDS, small_checkpoint, write_words

BROKEN = {"absent": None, "empty": b"", "text": b"not a sound", "cut": b"RIFF\xff\xff\0\0WAVE"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one word each clip is broken in its own way: it tests, validates, or trains."""
    root = write_words(tmp_path_factory.mktemp("words") / "w", 4)
    for i, content in enumerate((b"", b"not a sound", b"RIFF\xff\xff\0\0WAVE", b"fLaC")):
        (root / WORDS[0] / f"{i}.wav").write_bytes(content)
    return root


@pytest.mark.parametrize("command", ["predict", "listen"])
@pytest.mark.parametrize("what", BROKEN)
def test_one_recording(bundle: Path, tmp_path: Path, command: str, what: str) -> None:
    path, content = tmp_path / "sound.wav", BROKEN[what]
    if content is not None:
        path.write_bytes(content)
    words = [command, str(bundle), *["--file"] * (command == "listen"), str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3 and "sound.wav" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", ["evaluate", "train", "export", "sensitivity", "judge"])
def test_a_recording_of_a_data_set(
    root: Path, bundle: Path, words: Path, tmp_path: Path, command: str
) -> None:
    data = ["--dataset", "speech-commands", "--data", words, "--cache", tmp_path / "cache"]
    calibration = [str(w).replace("--da", "--calib-da") for w in data]
    out, source = tmp_path / "out", small_checkpoint(root)
    train = ["train", *data, "-o", out, "--model", "eat-s-gmme-k6c4", "--epochs", 1,
             "--sample-rate", 8000, "--samples", 1024, "--factors", "2,2", "--device", "cpu",
             "--threads", 1]  # fmt: skip
    export = ["export", source, "-o", out, "--opset", 17, *calibration]
    called: dict[str, list[object]] = {
        "evaluate": ["evaluate", bundle, *data],
        "train": train,
        "export": [*export, "--precision", "int8-ort"],
        "sensitivity": ["sensitivity", source, *data, "-o", out],
        "judge": [*export, "--auto"],
    }
    done = CliRunner().invoke(app, list(map(str, called[command])))
    assert done.exit_code == 3, done.output
    assert str(words / WORDS[0]) in done.stderr.replace("\n", "")
    assert not out.exists()
