from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import Result
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.audio import Recording
from gmme_edge.cli.app import app
from gmme_edge.observer import Observer
from gmme_edge.runtime.classifier import Classifier
from gmme_edge.workflows import predicting
from tests.artifacts import (
    N_SAMPLES,
    RATE_HZ,
    WORDS,
    open_checkpoint,
    small_checkpoint,
    sounds,
    torch_logits,
    write_words,
)


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


def test_one_bad_recording_does_not_lose_the_others(
    bundle: Path, recordings: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    files = (recordings[0], tmp_path / "text.wav", recordings[1])
    result = predict(bundle, *files, "--json")
    assert result.exit_code == 9
    first, bad, last = json.loads(result.stdout)
    assert "text.wav cannot be decoded" in bad["error"] and "predictions" not in bad
    assert len(first["predictions"]) == len(last["predictions"]) == 3
    assert "text.wav" in result.stderr and "1 of 3 recordings" in result.stderr
    table = predict(bundle, *files)
    assert table.exit_code == 9 and "(cannot be heard)" in table.stdout


@pytest.fixture
def tree(recordings: list[Path], tmp_path: Path) -> Path:
    """Files of one name in several folders, and what is no recording."""
    for name in ("b/x.wav", "a/x.WAV", "x.wav", "a/deep/[red].wav", ".hidden/x.wav"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recordings[0], tmp_path / "tree" / name)
    (tmp_path / "tree" / "notes.txt").write_text("no audio")
    return tmp_path / "tree"


def test_folders_are_listened_to(bundle: Path, tree: Path) -> None:
    found = json.loads(predict(bundle, tree, "--json").stdout)
    assert [entry["file"] for entry in found] == [str(tree / "x.wav")]
    found = json.loads(predict(bundle, tree, "--recursive", "--json").stdout)
    names = ["a/deep/[red].wav", "a/x.WAV", "b/x.wav", "x.wav"]
    assert [entry["file"] for entry in found] == [str(tree / name) for name in names]
    shown = predict(bundle, tree, "--recursive").stdout
    assert all(name in shown for name in names)
    (tree / "empty").mkdir()
    refused = predict(bundle, tree / "empty")
    assert refused.exit_code == 2 and "holds no recordings" in refused.stderr


def test_a_long_recording_is_answered_by_time(bundle: Path, tmp_path: Path) -> None:
    long = np.concatenate([*[sounds()[3]] * 3, np.zeros(3 * N_SAMPLES), sounds()[5]])
    soundfile.write(tmp_path / "long.wav", long, RATE_HZ, subtype="FLOAT")
    (found,) = json.loads(predict(bundle, tmp_path / "long.wav", "--json").stdout)
    assert found["duration_s"] == 7 * N_SAMPLES / RATE_HZ and not found["silent"]
    assert [window["silent"] for window in found["windows"]] == [False] * 3 + [True] * 3 + [False]
    assert found["windows"][6]["end_s"] == found["duration_s"]
    shown = predict(bundle, tmp_path / "long.wav").stdout
    assert "0:00.0–0:00.4" in shown and "(silence)" in shown


def test_silence_is_flagged(bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(N_SAMPLES), RATE_HZ)
    (found,) = json.loads(predict(bundle, tmp_path / "a.wav", "--json").stdout)
    assert found["silent"] is True and len(found["predictions"]) == 3
    assert "(silence)" in predict(bundle, tmp_path / "a.wav").stdout


def test_a_checkpoint_is_told_from_a_bundle(root: Path, recordings: list[Path]) -> None:
    result = predict(small_checkpoint(root), recordings[0])
    assert result.exit_code == 3 and "gmme-edge export" in result.stderr


def test_ctrl_c_says_what_was_done(
    bundle: Path, recordings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze = Classifier.analyze_recording

    def interrupted(self: Classifier, recording: Recording) -> object:
        if recording.path == recordings[2]:
            raise KeyboardInterrupt
        return analyze(self, recording)

    monkeypatch.setattr(Classifier, "analyze_recording", interrupted)
    result = predict(bundle, *recordings, "--json")
    assert result.exit_code == 130 and len(json.loads(result.stdout)) == 2
    assert result.stderr == "interrupted: 2 of 3 recordings were heard\n"


def test_the_bar_moves_within_a_long_recording(bundle: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []

    class Watching(Observer):
        def progress(self, what: str, done: int, total: int) -> None:
            told.append((what, done / total))

    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE_HZ)
    soundfile.write(tmp_path / "long.wav", noise, RATE_HZ)
    paths = [tmp_path / "long.wav", tmp_path / "gone.wav"]
    heard = list(predicting.predict(bundle, paths, observer=Watching()))
    assert heard[0].analysis is not None and heard[1].error is not None
    shares = [share for _, share in told]
    assert {what for what, _ in told} == {"recordings"} and shares == sorted(shares)
    assert sum(0 < share < 0.5 for share in shares) >= 8  # the first of two recordings
    assert (shares[0], shares[-1]) == (0, 1)
    with gmme_edge.load(bundle) as classifier:
        alone = classifier.analyze_file(paths[0])
    assert np.array_equal(heard[0].analysis.logits, alone.logits)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_long_stereo_takes_no_more_memory_than_a_minute(
    tmp_path: Path, bundle: Path, command: str
) -> None:
    """48 kHz; 20 minutes at once are 460 MB of samples. Each in a process of its own."""
    peaks = []
    for minutes in (1, 20):
        words = write_words(tmp_path / f"{minutes}", 3)
        long = words / WORDS[0] / "0.wav"
        with soundfile.SoundFile(long, "w", 48_000, 2) as file:
            block = np.random.default_rng(0).normal(0, 0.1, (48_000 * 60, 2))
            for _ in range(minutes):
                file.write(block)
        arguments = [command, str(bundle), "--threads", "1", "--json"]
        arguments += [str(long)] if command == "predict" else [
            "--dataset", "speech-commands", "--data", str(words), "--cache", str(tmp_path / "cache")
        ]  # fmt: skip
        code = (
            "import resource, sys, gmme_edge.cli.app as cli\n"
            "try: cli.app(sys.argv[1:])\n"
            "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stderr.split()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 50, peaks
