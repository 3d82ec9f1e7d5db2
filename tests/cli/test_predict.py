from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from tests.artifacts import RATE_HZ, WORDS, open_checkpoint, sounds, torch_logits


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    paths = [folder / f"clip {i}.wav" for i in range(3)]
    for path, clip in zip(paths, sounds(), strict=False):
        soundfile.write(path, clip, RATE_HZ, subtype="FLOAT")
    return paths


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_json_holds_torchs_probabilities(bundle: Path, root: Path, recordings: list[Path]) -> None:
    result = predict(bundle, *recordings, "--top", 4, "--json", "--threads", 1)
    assert result.exit_code == 0, result.stderr
    logits = torch_logits(open_checkpoint(root).model, sounds()[:3])
    expected = torch.from_numpy(logits).softmax(dim=1).numpy()
    values = json.loads(result.stdout)
    assert [entry["file"] for entry in values] == [str(path) for path in recordings]
    for entry, probabilities in zip(values, expected, strict=True):
        best = np.argsort(-probabilities)[:4]
        assert [p["label"] for p in entry["predictions"]] == [WORDS[i] for i in best]
        found = [p["probability"] for p in entry["predictions"]]
        assert found == pytest.approx(probabilities[best], abs=1e-5)


def test_a_file_given_twice_is_answered_twice(bundle: Path, recordings: list[Path]) -> None:
    result = predict(bundle, recordings[0], recordings[1], recordings[0], "--json")
    first, second, third = json.loads(result.stdout)
    assert first == third != second


def test_the_table(bundle: Path, recordings: list[Path]) -> None:
    result = predict(bundle, recordings[0], "--precision", "int8")
    assert result.exit_code == 0, result.stderr
    assert "clip 0.wav" in result.stdout and result.stdout.count("%") == 3


def test_what_cannot_be_heard_is_exit_code_3(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    for path in (tmp_path / "text.wav", tmp_path / "nowhere.wav"):
        result = predict(bundle, path, "--json")
        assert result.exit_code == 3 and path.name in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    "options", [("--precision", "fp8"), ("--top", "0"), ("--backend", "torch"), ()]
)
def test_wrong_options_are_exit_code_2(
    bundle: Path, recordings: list[Path], options: tuple[str, ...]
) -> None:
    files = recordings[:1] if options else []
    assert predict(bundle, *files, *options).exit_code == 2
