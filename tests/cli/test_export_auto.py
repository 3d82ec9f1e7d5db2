"""`export --auto`: what it measures, what it writes, and what the runtime makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import Result
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.data.registry import open_dataset
from gmme_edge.errors import BundleError
from gmme_edge.files import sha256_of
from gmme_edge.profiling.memory import Memory
from gmme_edge.profiling.rounds import Samples
from gmme_exporters.bundle import export_bundle
from gmme_exporters.options import ExportOptions
from tests.artifacts import (
    N_SAMPLES,
    RATE_HZ,
    WORDS,
    copy_bundle,
    edit_manifest,
    open_checkpoint,
    small_checkpoint,
    sounds,
    write_words,
)

FAST_INT8 = {"fp32": 10.0, "fp16": 12.0, "int8-ort": 5.0}
FAST_FP32 = {"fp32": 4.0, "fp16": 12.0, "int8-ort": 5.0}
N_CLIPS = 12


def export(
    source: Path, out: Path, data: Path, *options: object, dataset: str = "folder"
) -> Result:
    arguments = [
        "export", source, "-o", out, "--opset", 17, "--auto", "--calib-dataset", dataset,
        "--calib-data", data, "--calib-size", 20, "--cache", data.with_name(data.name + "-cache"),
        *options,
    ]  # fmt: skip
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per class, for the loaders of folders and (with lists) of Speech Commands."""
    return write_words(tmp_path_factory.mktemp("auto") / "words", N_CLIPS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float]], None]:
    """Sets how long the calls of each precision take; the networks still run for accuracy."""
    monkeypatch.setattr("gmme_edge.profiling.latency.measure_memory", lambda *_: Memory(2, 1))

    def set_times(median_ms: dict[str, float]) -> None:
        def time(sessions: Sequence[Any], *_: object) -> Samples:
            noise = np.random.default_rng(0).normal(1, 0.01, 50)
            taken = [(median_ms[session.precision] * noise).tolist() for session in sessions]
            return Samples(taken, [0] * len(taken), rounds=50)

        monkeypatch.setattr("gmme_edge.profiling.latency._time", time)

    return set_times


def correct_by_onnxruntime(bundle: Path, precision: str, clips: np.ndarray) -> int:
    session = onnxruntime.InferenceSession(
        bundle / f"model.{precision}.onnx", providers=["CPUExecutionProvider"]
    )
    found = session.run(["logits"], {"waveform": clips})[0].argmax(axis=1)
    return int((found == np.arange(len(WORDS))).sum())


@pytest.mark.slow
def test_what_is_measured_is_noted_and_the_runtime_follows(
    root: Path, words: Path, tmp_path: Path, clock: Callable[[dict[str, float]], None]
) -> None:
    clock(FAST_INT8)
    out = tmp_path / "out"
    options = ("--max-accuracy-drop", 100, "--min-accuracy", 0.1, "--max-latency-p90-ms", 6)
    result = export(small_checkpoint(root), out, words, *options, dataset="speech-commands")
    assert result.exit_code == 0, result.stderr
    assert "int8-ort: recommended for ort-cpu" in result.stdout
    assert "fp16: slower than fp32: ×1.20" in result.stdout
    bundle = Bundle.open(out)
    verdict = bundle.manifest.verdict
    assert bundle.precisions == ("fp32", "fp16", "int8-ort", "int8-tensorrt")
    assert verdict["clips"] == {
        "dataset": "speech-commands", "fold": None, "split": "validation",
        "held_out_of_training": False, "n": len(WORDS),
    }  # fmt: skip
    # `write_words` lets clip 1 of each word validate.
    clips = sounds(N_CLIPS, seed=9).reshape(N_CLIPS, len(WORDS), N_SAMPLES)[1]
    assert [each["precision"] for each in verdict["tried"]] == ["fp32", "fp16", "int8-ort"]
    for each in verdict["tried"]:
        correct = correct_by_onnxruntime(out, each["precision"], clips)
        assert each["accuracy"] == pytest.approx(correct / len(WORDS))

    with gmme_edge.load(out) as chosen, gmme_edge.load(out, precision="fp32") as exact:
        assert (chosen.precision, exact.precision) == ("int8-ort", "fp32")
    assert bundle.recommended_precision("tensorrt") == "fp32"
    wave = words / WORDS[0] / "0.wav"
    probabilities = []
    for precision in ((), ("--precision", "int8"), ("--precision", "fp32")):
        run = CliRunner().invoke(app, ["predict", str(out), str(wave), "--json", *precision])
        probabilities.append(json.loads(run.stdout)[0]["predictions"][0]["probability"])
    assert probabilities[0] == probabilities[1] != probabilities[2]


@pytest.mark.slow
def test_measured_for_real(root: Path, words: Path, tmp_path: Path) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", words, dataset="speech-commands")
    assert result.exit_code == 0, result.stderr
    verdict = Bundle.open(tmp_path / "out").manifest.verdict
    assert verdict["device"]["usable_cores"] >= 1 and verdict["max_accuracy_drop_points"] == 0.5
    assert sum(each["recommended"] for each in verdict["tried"]) == 1
    for each in verdict["tried"]:
        assert each["repetitions"] == 100 and 0 < each["median_ms"] <= each["p90_ms"]
        if each["precision"] != verdict["precision"]:
            assert each["reasons"]


@pytest.mark.slow
def test_folds_lend_clips_that_do_not_calibrate(
    root: Path, words: Path, tmp_path: Path, clock: Callable[[dict[str, float]], None]
) -> None:
    clock(FAST_FP32)
    result = export(
        small_checkpoint(root), tmp_path / "out", words, "--fold", 2, "--calib-size", 999, "--json"
    )
    assert result.exit_code == 0, result.stderr
    verdict = json.loads(result.stdout)["verdict"]
    assert verdict["precision"] == "fp32" and verdict["clips"]["held_out_of_training"]
    dataset = open_dataset("folder", words, 2)
    n_train = len(dataset.select("train"))
    n_held = verdict["clips"]["n"]
    assert n_held == len(WORDS) * int(0.4 * n_train / len(WORDS))
    record = json.loads((tmp_path / "out" / "calibration.json").read_text())
    held_out = {sha256_of(clip.path) for clip in dataset.select("test")}
    assert held_out.isdisjoint(clip["sha256"] for clip in record["clips"])
    assert len(record["clips"]) == n_train - n_held  # all that are left


def export_quickly(root: Path, out: Path) -> dict[str, bytes]:
    """An older bundle of the same weights; its files."""
    options = ExportOptions(("fp32",), opset=17, embedding=False)
    export_bundle(open_checkpoint(root), out, options, sounds()[:1])
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.slow
def test_a_failing_gate_leaves_what_was_there(
    root: Path, words: Path, tmp_path: Path, clock: Callable[[dict[str, float]], None]
) -> None:
    clock(FAST_FP32)
    out = tmp_path / "out"
    slow = ("--max-latency-p90-ms", 1)
    result = export(small_checkpoint(root), out, words, *slow, dataset="speech-commands")
    assert result.exit_code == 8, result.output
    assert "fp32 on ort-cpu, batch 1: p90 4." in result.stderr
    assert "No bundle was written" in result.stderr and list(tmp_path.iterdir()) == []

    data = shutil.copytree(words, tmp_path / "data" / "words")  # with one clip that is mistaken
    (data / WORDS[0] / "1.wav").write_bytes((words / WORDS[1] / "2.wav").read_bytes())
    (data / WORDS[1] / "2.wav").unlink()
    bundle = export_quickly(root, out)
    strict = ("--min-accuracy", 1, *slow)  # of two failing gates the accuracy's is told
    result = export(small_checkpoint(root), out, data, *strict, dataset="speech-commands")
    assert result.exit_code == 6, result.output
    assert "of fp32, the precision to recommend (95 % " in result.stderr
    assert {p.name: p.read_bytes() for p in out.iterdir()} == bundle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--precision", "fp16,int8"), "fp32 among the precisions"),
        (("--auto-backend", "npu"), "Unknown backend"),
        (("--max-accuracy-drop", "-1"), "max-accuracy-drop"),
        (("--calib-dataset", "unlabelled"), "unlabelled recordings"),
    ],
)
def test_wrong_options_are_exit_code_2(
    root: Path, words: Path, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = export(small_checkpoint(root), tmp_path / "out", words, *options)
    assert result.exit_code == 2 and reason in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [("--auto",), ("--max-latency-p90-ms", "1"), ("--min-accuracy", "0.5")]
)
def test_options_that_need_others(root: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    arguments = ["export", str(small_checkpoint(root)), "-o", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "--auto" in result.stderr


def test_other_classes_are_exit_code_3(root: Path, words: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(words, fewer, ignore=shutil.ignore_patterns(WORDS[3], "*.txt"))
    result = export(small_checkpoint(root), tmp_path / "out", fewer)
    assert result.exit_code == 3 and "9 classes, not 10" in result.stderr


@pytest.mark.parametrize(
    "verdict",
    [
        {"precision": "int4", "backend": "ort-cpu"},
        {"precision": "fp16"},
        {"backend": "ort-cpu"},
        {"precision": ["fp16"], "backend": "ort-cpu"},
        {"precision": "fp16", "backend": 3},
        ["fp16"],
    ],
)
def test_a_damaged_verdict_is_refused(bundle: Path, tmp_path: Path, verdict: object) -> None:
    mine = copy_bundle(bundle, tmp_path / "mine")
    edit_manifest(mine, lambda values: values.update(verdict=verdict))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle.open(mine)


def test_a_damaged_spec_is_told_once_and_with_its_path(bundle: Path, tmp_path: Path) -> None:
    mine = copy_bundle(bundle, tmp_path / "mine")
    edit_manifest(mine, lambda values: values["model"].update(factors=7))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged") as caught:
        Bundle.open(mine)
    assert str(mine) in str(caught.value) and str(caught.value).count("Expected:") == 1


def test_a_bundle_without_a_verdict_runs_fp32(bundle: Path) -> None:
    assert "verdict" not in json.loads((bundle / "manifest.json").read_text())
    with gmme_edge.load(bundle) as classifier:
        assert classifier.precision == "fp32" and classifier.sample_rate_hz == RATE_HZ
