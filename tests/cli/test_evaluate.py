from __future__ import annotations

import fcntl
import itertools
import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.data.seen import fingerprints
from gmme_edge.errors import BundleError
from gmme_edge.locks import locked
from gmme_edge.models.checkpoint import save_checkpoint
from gmme_edge.observer import Observer
from gmme_edge.report.documents import AccuracyResult, load_result
from gmme_edge.workflows import evaluating
from gmme_edge.workflows.settings.evaluating import EvaluationClips, EvaluationSettings
from tests.artifacts import (
    N_SAMPLES,
    RATE_HZ,
    WORDS,
    edit_manifest,
    open_checkpoint,
    small_checkpoint,
    sounds,
    torch_logits,
    write_words,
)
from tests.conftest import shared


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"), clips_per_class=3, seed=9)


def clips_of(split: str) -> np.ndarray:
    """What `write_words` wrote: clip 0 of each word tests, 1 validates, 2 trains."""
    clips = sounds(3, seed=9).reshape(3, len(WORDS), N_SAMPLES)
    return clips[("test", "validation", "train").index(split)]


def evaluate(artifact: Path, data: Path, *options: object) -> Result:
    arguments = [artifact, "--dataset", "speech-commands", "--data", data, *options]
    arguments += ["--cache", data.with_name(data.name + "-cache")]
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def only(result: Result) -> dict[str, Any]:
    """The one result that ``--json`` lists."""
    document = json.loads(result.stdout)
    assert (document["schema"], document["kind"]) == (1, "evaluation")
    (found,) = document["results"]
    return dict(found)


def check(values: dict[str, Any], predicted: np.ndarray) -> None:
    """The record against counting by hand; class i's only clip is clip i."""
    n = len(WORDS)
    correct = sum(int(p) == i for i, p in enumerate(predicted))
    assert values["accuracy"] == pytest.approx(correct / n)
    assert (values["n"], values["labels"]) == (n, list(WORDS))
    confusion = [[int(predicted[row] == column) for column in range(n)] for row in range(n)]
    assert values["confusion"] == confusion
    assert values["per_class"] == {
        word: {"accuracy": float(predicted[i] == i), "n": 1} for i, word in enumerate(WORDS)
    }
    # Wilson's bounds p solve (accuracy - p)^2 = z^2 p (1 - p) / n.
    for p in values["interval"]:
        deviation = (correct / n - p) ** 2 - 1.959964**2 * p * (1 - p) / n
        assert deviation == pytest.approx(0, abs=1e-9)
    assert values["interval"][0] < values["accuracy"] < values["interval"][1]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_checkpoint_on_torch(root: Path, words: Path, tmp_path: Path, split: str) -> None:
    output = tmp_path / "result.json"
    result = evaluate(
        small_checkpoint(root), words, "--split", split, "--json", "-o", output, "--threads", 1
    )
    assert result.exit_code == 0, result.stderr
    values = only(result)
    assert values == json.loads(output.read_text())
    check(values, torch_logits(open_checkpoint(root).model, clips_of(split)).argmax(axis=1))
    assert (values["schema"], values["kind"]) == (1, "accuracy")
    assert (values["dataset"], values["split"], values["fold"]) == ("speech-commands", split, None)
    assert (values["backend"], values["precision"]) == ("torch", "fp32")
    loaded = load_result(output)
    assert isinstance(loaded, AccuracyResult) and loaded.accuracy == values["accuracy"]


@pytest.mark.parametrize("precision", ["fp32", "int8-ort"])
def test_a_bundle_on_onnxruntime(bundle: Path, words: Path, precision: str) -> None:
    option = precision.partition("-")[0]
    result = evaluate(bundle, words, "--precision", option, "--json", "--threads", 1)
    assert result.exit_code == 0, result.stderr
    values = only(result)
    session = onnxruntime.InferenceSession(
        bundle / f"model.{precision}.onnx", providers=["CPUExecutionProvider"]
    )
    logits = session.run(["logits"], {"waveform": clips_of("test")})[0]
    check(values, logits.argmax(axis=1))
    assert (values["backend"], values["precision"]) == ("ort-cpu", precision)


def test_record_notes_each_precision_in_the_manifest(
    bundle: Path, root: Path, words: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    measured = {}
    for precision in ("fp32", "int8-ort"):
        result = evaluate(copy, words, "--precision", precision, "--record", "--json")
        assert result.exit_code == 0, result.stderr
        measured[precision] = only(result)
    noted = Bundle.open(copy).manifest.accuracy
    assert set(noted) == set(measured)
    for precision, figures in noted.items():
        assert figures == {name: measured[precision][name] for name in figures}
        assert {"accuracy", "interval", "n", "dataset", "split"} <= set(figures)
    assert evaluate(small_checkpoint(root), words, "--record").exit_code == 2


def test_the_table_names_what_is_mistaken(bundle: Path, words: Path) -> None:
    result = evaluate(bundle, words)
    assert result.exit_code == 0, result.stderr
    assert "small-gmme, fp32 on ort-cpu: accuracy" in result.stdout
    assert "on 10 test clips" in result.stdout
    assert WORDS[4] in result.stdout


def test_the_gate(root: Path, words: Path, tmp_path: Path) -> None:
    checkpoint, output = small_checkpoint(root), tmp_path / "result.json"
    logits = torch_logits(open_checkpoint(root).model, clips_of("test"))
    accuracy = (logits.argmax(axis=1) == np.arange(len(WORDS))).mean()
    assert evaluate(checkpoint, words, "--min-accuracy", accuracy).exit_code == 0
    result = evaluate(checkpoint, words, "--min-accuracy", accuracy + 0.01, "-o", output)
    assert result.exit_code == 6
    assert f"Accuracy {accuracy:.4f} of fp32 on torch (95 % " in result.stderr
    assert json.loads(output.read_text())["accuracy"] == pytest.approx(accuracy)


def test_several_precisions_against_the_first(bundle: Path, words: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    options = ("--precision", "fp32,int8,int8-ort,fp16", "-o", output, "--threads", 1)
    result = evaluate(bundle, words, *options, "--json")
    assert result.exit_code == 0, result.stderr
    documents = json.loads(result.stdout)["results"]
    assert [d["precision"] for d in documents] == ["fp32", "int8-ort", "fp16"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "result.fp16.json", "result.fp32.json", "result.int8-ort.json"
    ]  # fmt: skip
    assert "flips" not in documents[0]
    for document in documents[1:]:
        path = tmp_path / f"result.{document['precision']}.json"
        assert json.loads(path.read_text()) == document
        assert isinstance(load_result(path), AccuracyResult)
        then, now = (np.array(d["predictions"]["predicted"]) for d in (documents[0], document))
        flips = document["flips"]
        assert flips["against"] == "fp32 on ort-cpu"
        assert flips["all"]["total"] == (then != now).sum()
        assert sum(part["n"] for part in flips["per_level"].values()) == len(WORDS)
    shown = evaluate(bundle, words, *options).stdout
    assert "flips against fp32 on ort-cpu" in shown
    assert max(len(line) for line in shown.splitlines() if line[0] in "│┃") <= 80

    # A stored result counts as the first precision did, also one without levels.
    stored = json.loads((tmp_path / "result.fp32.json").read_text())
    del stored["predictions"]["levels"], stored["per_level"]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(stored))
    result = evaluate(bundle, words, "--precision", "int8", "--against", old, "--json")
    expected = {**documents[1]["flips"], "against": str(old)}
    assert only(result)["flips"] == expected
    assert evaluate(bundle, words, "--split", "validation", "--against", old).exit_code == 3


def test_a_warning_about_a_recording_is_a_note_and_no_line_of_code(
    bundle: Path, tmp_path: Path
) -> None:
    words = write_words(tmp_path / "words", clips_per_class=3)
    antiphase = sounds()[0][:, None] * np.array([1.0, -1.0])
    soundfile.write(words / WORDS[0] / "0.wav", antiphase, RATE_HZ, subtype="FLOAT")
    result = evaluate(bundle, words)
    assert result.exit_code == 0, result.stderr
    (told,) = [line for line in result.stderr.splitlines() if "antiphase" in line]
    assert told.startswith("note: ") and "0.wav: its channels cancel" in told
    assert "AudioWarning" not in result.stderr and "warnings.warn" not in result.stderr


def test_a_result_names_the_weights_that_it_is_of(bundle: Path, words: Path) -> None:
    expected = Bundle.open(bundle).manifest.weights_sha256
    assert only(evaluate(bundle, words, "--json"))["weights_sha256"] == expected != ""


@pytest.mark.slow
def test_flips_and_levels_of_real_recordings(tmp_path: Path) -> None:
    """Spoken digits, against a result in which zero and one were exchanged."""
    data, output = shared("data/FSDD"), tmp_path / "r.json"
    options = ("--dataset", "speech-commands", "--data", data, "--cache", tmp_path / "cache")
    arguments = ["evaluate", "digits", *map(str, options)]
    first = CliRunner().invoke(app, [*arguments, "-o", str(output)])
    assert first.exit_code == 0, first.stderr
    stored = json.loads(output.read_text())
    found = stored["predictions"]
    true, predicted = np.array(found["true"]), np.array(found["predicted"])
    exchange = {"zero": "one", "one": "zero"}
    found["predicted"] = [exchange.get(word, word) for word in found["predicted"]]
    output.write_text(json.dumps(stored))
    result = CliRunner().invoke(app, [*arguments, "--against", str(output), "--json"])
    assert result.exit_code == 0, result.stderr
    flips = only(result)["flips"]
    flipped = np.isin(predicted, ["zero", "one"])
    assert flips["all"]["total"] == flipped.sum() > 0
    assert flips["all"]["wrong_to_right"] == (flipped & (predicted == true)).sum()

    recordings = {f"{path.parent.name}/{path.name}": path for path in data.glob("*/*")}
    levels: dict[str, list[float]] = {}
    for clip, level in zip(found["clips"], found["levels"], strict=True):
        samples, _ = soundfile.read(recordings[clip])
        power = np.square(samples[:8160]).sum() / 8160  # 1.02 s at 8 kHz, padded with zeros
        levels.setdefault(level, []).append(10 * np.log10(power))
    quarters = [levels[name] for name in sorted(levels)]
    assert [len(quarter) for quarter in quarters] == [75] * 4
    for fainter, louder in itertools.pairwise(quarters):
        assert max(fainter) < min(louder) + 0.1  # resampled here, not there


def test_an_output_that_cannot_be_is_told_before_a_clip_is_decoded(
    bundle: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("gmme_edge.workflows.evaluating.load_split", decode)
    result = evaluate(bundle, words, "-o", tmp_path)
    assert result.exit_code == 3 and f"{tmp_path}: Is a directory." in result.stderr


def test_other_classes_are_exit_code_3(bundle: Path, words: Path, tmp_path: Path) -> None:
    renamed = shutil.copytree(words, tmp_path / "renamed")
    (renamed / WORDS[3]).rename(renamed / "3_other")
    for name in ("testing", "validation"):
        path = renamed / f"{name}_list.txt"
        path.write_text(path.read_text().replace(WORDS[3], "3_other"))
    result = evaluate(bundle, renamed)
    assert result.exit_code == 3
    assert f"class 3 is '3_other', not '{WORDS[3]}'" in result.stderr

    shutil.rmtree(renamed / "3_other")
    for name in ("testing", "validation"):
        path = renamed / f"{name}_list.txt"
        kept = [line for line in path.read_text().splitlines() if "3_other" not in line]
        path.write_text("\n".join(kept))
    result = evaluate(bundle, renamed)
    assert result.exit_code == 3 and "9 classes, not 10" in result.stderr


def test_a_checkpoint_runs_on_torch_only(root: Path, words: Path) -> None:
    for option in (("--backend", "ort-cpu"), ("--precision", "fp16")):
        result = evaluate(small_checkpoint(root), words, *option)
        assert result.exit_code == 2 and "fp32 on torch for a checkpoint" in result.stderr


@pytest.mark.parametrize(
    "options",
    [("--precision", "fp8"), ("--split", "dev"), ("--fold", "1"), ("--min-accuracy", "2")],
)
def test_wrong_options_are_exit_code_2(bundle: Path, words: Path, options: tuple[str, ...]) -> None:
    assert evaluate(bundle, words, *options).exit_code == 2


def test_what_is_neither_is_exit_code_3(words: Path, tmp_path: Path) -> None:
    assert evaluate(tmp_path, words).exit_code == 3


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here"
)
def test_a_backend_that_is_not_here_is_exit_code_7(bundle: Path, words: Path) -> None:
    assert evaluate(bundle, words, "--backend", "ort-cuda").exit_code == 7


def test_long_clips_count_once(bundle: Path, tmp_path: Path) -> None:
    """Two windows of different classes: the mean of their probabilities decides."""
    pair = sounds(1, seed=9)[[0, 4]].reshape(-1)
    for word in WORDS:
        (tmp_path / "words" / word).mkdir(parents=True)
        for i in range(3):
            soundfile.write(tmp_path / "words" / word / f"{i}.wav", pair, 8000, subtype="FLOAT")
    for i, name in enumerate(("testing", "validation")):
        lines = "".join(f"{word}/{i}.wav\n" for word in WORDS)
        (tmp_path / "words" / f"{name}_list.txt").write_text(lines)
    result = evaluate(bundle, tmp_path / "words", "--json")
    assert result.exit_code == 0, result.stderr
    session = onnxruntime.InferenceSession(
        bundle / "model.fp32.onnx", providers=["CPUExecutionProvider"]
    )
    logits = session.run(["logits"], {"waveform": pair.reshape(2, -1)})[0].astype(np.float64)
    powers = np.exp(logits)
    best = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0).argmax()
    check_all_as(only(result), int(best))


def check_all_as(values: dict[str, Any], best: int) -> None:
    assert values["n"] == len(WORDS)
    assert [row[best] for row in values["confusion"]] == [1] * len(WORDS)


def test_ctrl_c_is_130(bundle: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gmme_edge.workflows.evaluating.score_store", interrupt)
    assert evaluate(bundle, words).exit_code == 130


def trained_on(bundle: Path, target: Path, words: Path, split: str) -> Path:
    """A copy of `bundle` whose network was trained on one clip of each of `words`."""
    number = ("test", "validation", "train").index(split)
    known = fingerprints(words / word / f"{number}.wav" for word in WORDS)
    copy = Path(shutil.copytree(bundle, target))
    origin = {"dataset": "folder", "fold": None, "fingerprints": known}
    edit_manifest(copy, lambda values: values["provenance"].update(data=origin))
    return copy


def test_clips_that_a_model_was_trained_on_are_no_test(
    bundle: Path, words: Path, tmp_path: Path
) -> None:
    """A folder data set: the recordings themselves tell, wherever they lie."""
    copy = trained_on(bundle, tmp_path / "bundle", words, "test")
    table = tmp_path / "clips.csv"
    rows = [f"{words / word / '0.wav'},{word},test" for word in WORDS]
    rows += [f"{words / word / '1.wav'},{word},validation" for word in WORDS]
    rows += [f"{words / word / '2.wav'},{word},train" for word in WORDS]
    table.write_text("\n".join(["path,label,split", *rows]) + "\n")
    options = ("--dataset", "csv", "--data", str(table), "--cache", str(tmp_path / "cache"))

    def judge(*more: str) -> Result:
        return CliRunner().invoke(app, ["evaluate", str(copy), *options, *more])

    refused = judge("--json")
    assert refused.exit_code == 2 and refused.stdout == "", refused.stderr
    assert "10 of the 10 clips were trained on" in refused.stderr
    assert "--allow-seen" in refused.stderr
    allowed = judge("--json", "--allow-seen", "--record")
    assert only(allowed)["seen"]["state"] == "seen"
    assert Bundle.open(copy).manifest.accuracy["fp32"]["seen"]["state"] == "seen"
    assert "some of which it was trained on" in judge("--allow-seen").stdout
    unseen = judge("--split", "validation", "--json")
    assert unseen.exit_code == 0 and only(unseen)["seen"]["state"] == "unseen"


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_a_shipped_model_is_not_tested_on_its_training_folds(tmp_path: Path, fold: int) -> None:
    options = ["--dataset", "esc10", "--data", str(shared("data/ESC-10")), "--fold", str(fold)]
    options += ["--cache", str(tmp_path)]
    result = CliRunner().invoke(app, ["evaluate", "esc10", *options])
    assert result.exit_code == 2 and "--fold 5" in result.stderr


def test_two_records_at_once_keep_both_figures(bundle: Path, tmp_path: Path) -> None:
    copy = Bundle.open(Path(shutil.copytree(bundle, tmp_path / "bundle")))
    names = [f"p{i}" for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: copy.record_accuracy(name, {"accuracy": 1.0}), names))
    assert sorted(Bundle.open(copy.path).manifest.accuracy) == sorted(names)


RECORD = """
import sys
import threading
from gmme_edge.bundle.bundle import Bundle
name, path = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
bundle = Bundle.open(path)
for i in range(25):
    bundle.record_accuracy(f"{name}{i}", {"accuracy": 1.0})
"""


@pytest.mark.parametrize("through_a_link", [False, True])
def test_records_of_several_processes_keep_all_figures(
    bundle: Path, tmp_path: Path, through_a_link: bool
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (tmp_path / "link").symlink_to(copy)
    places = (copy, tmp_path / "link" if through_a_link else copy)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RECORD, name, str(place)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name, place in zip("ab", places, strict=True)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    expected = {f"{name}{i}" for name in "ab" for i in range(25)}
    assert set(Bundle.open(copy).manifest.accuracy) == expected
    assert not [path for path in copy.iterdir() if ".tmp-" in path.name]


def test_a_figure_is_not_noted_with_another_network_that_took_the_place(
    bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    evaluated = Bundle.open(copy)
    edit_manifest(copy, lambda values: values["provenance"].update(checkpoint_sha256="0" * 64))
    with pytest.raises(BundleError, match="replaced by the bundle of another network"):
        evaluated.record_accuracy("fp32", {"accuracy": 1.0})
    assert Bundle.open(copy).manifest.accuracy == {}


def test_a_record_waits_for_an_export_and_notes_it_in_the_new_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is exchanged while the record waits: its lock is of the new one then."""
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    evaluated = Bundle.open(copy)
    flock, waits = fcntl.flock, threading.Event()

    def wait(handle: int, how: int) -> None:
        waits.set()
        flock(handle, how)

    with ThreadPoolExecutor(1) as pool:
        with locked(copy):
            monkeypatch.setattr(fcntl, "flock", wait)
            noted = pool.submit(evaluated.record_accuracy, "fp32", {"accuracy": 1.0})
            assert waits.wait(timeout=30)
            copy.rename(tmp_path / "old")
            shutil.copytree(bundle, copy)
        noted.result(timeout=30)
    assert list(Bundle.open(copy).manifest.accuracy) == ["fp32"]
    assert Bundle.open(tmp_path / "old").manifest.accuracy == {}


def test_evaluation_is_a_function(bundle: Path, words: Path, tmp_path: Path) -> None:
    """Without the command line, watched by an observer; sessions are closed."""
    heard: list[str] = []

    class Listening(Observer):
        def stage(self, name: str) -> None:
            heard.append(name)

    clips = EvaluationClips(dataset="speech-commands", data=words, cache=tmp_path)
    settings = EvaluationSettings(precision="fp32,int8", threads=1)
    found = evaluating.evaluate(bundle, clips, settings, Listening())
    assert list(found.scores) == ["fp32 on ort-cpu", "int8-ort on ort-cpu"]
    assert heard == ["evaluate fp32 on ort-cpu", "evaluate int8-ort on ort-cpu"]
    assert found.results[0].flips is None and found.results[1].flips is not None
    assert json.loads(json.dumps(found.to_dict()))["kind"] == "evaluation"


@pytest.mark.parametrize("history", [[{"epoch": 2}], [], None, ["text"]])
def test_an_unfinished_checkpoint_is_evaluated_with_a_warning(
    root: Path, words: Path, tmp_path: Path, history: object
) -> None:
    checkpoint = open_checkpoint(root)
    training = {"finished": False, "history": history, "recipe": {"epochs": 25}}
    state = checkpoint.model.state_dict()
    save_checkpoint(tmp_path / "c", checkpoint.spec, state, checkpoint.labels, training)
    result = evaluate(tmp_path / "c", words)
    assert result.exit_code == 0, result.output
    assert "warning: the training is unfinished" in result.stderr and "of 25" in result.stderr
    assert "unfinished" not in evaluate(small_checkpoint(root), words).stderr


def test_a_bundle_of_an_unfinished_training_is_evaluated_with_a_warning(
    bundle: Path, words: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    told = "the training is unfinished: it ended in epoch 2 of 25"
    edit_manifest(copy, lambda v: v["provenance"].update(unfinished_training=told))
    assert f"warning: {told}" in evaluate(copy, words, "--precision", "fp32").stderr
