"""`gmme-edge train` on a data set of nine short recordings."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import Result
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.cli.app import app
from gmme_edge.data.seen import fingerprints
from gmme_edge.errors import UsageError
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.training.run.journal import METRICS, TENSORBOARD, read_metrics
from gmme_edge.training.run.state import STATE
from gmme_edge.workflows.settings.training import (
    LearningData,
    MachineSettings,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
    TransferSettings,
)
from gmme_edge.workflows.training_curves import CURVES
from gmme_edge.workflows.training_plan import TrainingJob, build_recipe, source_path

LABELS = ("high", "low", "noise")
SMALL = {"sample-rate": "8000", "samples": "2048", "factors": "4,4"}


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips to train on and one to watch for each of three classes; 0.3 s at 16 kHz."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    t = np.arange(4800) / 16_000
    for split, n_clips in (("train", 2), ("validation", 1)):
        for label, hz in zip(LABELS, (2000, 200, None), strict=True):
            for i in range(n_clips):
                path = root / split / label / f"{i}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                tone = np.sin(2 * np.pi * hz * t + i) if hz else rng.normal(0, 0.3, len(t))
                soundfile.write(path, 0.3 * tone + 0.01 * rng.normal(size=len(t)), 16_000)
    return root


def arguments(data: Path, out: Path, /, **changes: str | None) -> list[str]:
    options: dict[str, str | None] = {
        "dataset": "folder", "data": str(data), "task": "speech-commands", "model": "eat-s-aa",
        "epochs": "1", "batch-size": "3", "threads": "1", "device": "cpu", "output": str(out),
        "cache": str(data.parent / "cache"),
        **changes,
    }  # fmt: skip
    named = [[f"--{key}", value] for key, value in options.items() if value is not None]
    return ["train", *(part for pair in named for part in pair)]


def train(data: Path, out: Path, /, *flags: str, **changes: str | None) -> Result:
    return CliRunner().invoke(app, [*arguments(data, out, **changes), *flags])


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("runs") / "first"
    result = train(data, out, "--json")
    assert result.exit_code == 0, result.stderr
    return out, result


def test_json_names_the_checkpoint_and_the_last_figures(trained: tuple[Path, Result]) -> None:
    out, result = trained
    printed = json.loads(result.stdout)
    assert printed["checkpoint"] == str(out) and printed["epoch"] == 1
    assert 0 < printed["loss"] < 10 and 0 <= printed["accuracy"] <= 1
    assert printed["monitor_accuracy"] in (0, 1 / 3, 2 / 3, 1)


def test_checkpoint_says_what_it_was_made_of(data: Path, trained: tuple[Path, Result]) -> None:
    loaded = load_checkpoint(trained[0])
    assert loaded.labels == LABELS
    assert (loaded.spec.name, loaded.spec.n_classes, loaded.spec.n_samples) == (
        "eat-s-aa", 3, 16_384,
    )  # fmt: skip
    assert loaded.training["finished"] and loaded.training["step"] == 2
    recipe = loaded.training["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["ema_unit"]) == (1, 3, "step")
    assert loaded.training["data"] == {
        "dataset": "folder", "fold": None, "monitor": "validation", "clips": 6,
        "labels": list(LABELS), "fingerprints": fingerprints((data / "train").rglob("*.wav")),
    }  # fmt: skip
    assert recipe["mixing_from_epoch"] == 12 and recipe["noise"]
    files = {path.name for path in trained[0].iterdir()} - {TENSORBOARD}
    assert files == {STATE, "model.safetensors", "model.json", METRICS, CURVES}


def test_the_journal_and_the_curves_show_the_run(trained: tuple[Path, Result]) -> None:
    (epoch,) = [e for e in read_metrics(trained[0] / METRICS) if e["kind"] == "epoch"]
    printed = json.loads(trained[1].stdout)
    assert (epoch["step"], epoch["loss"]) == (2, printed["loss"])
    assert epoch["monitor_accuracy"] == printed["monitor_accuracy"]
    picture = (trained[0] / CURVES).read_text()
    assert ">eat-s-aa<" in picture and ">validation " in picture


def test_progress_is_on_stderr(trained: tuple[Path, Result]) -> None:
    assert "eat-s-aa 1/1 loss" in trained[1].stderr and "val" in trained[1].stderr


def test_same_command_again_trains_nothing_and_says_the_same(
    data: Path, trained: tuple[Path, Result]
) -> None:
    out, first = trained
    weights = (out / "model.safetensors").read_bytes()
    again = train(data, out, "--json")
    assert again.exit_code == 0 and json.loads(again.stdout) == json.loads(first.stdout)
    assert (out / "model.safetensors").read_bytes() == weights
    text = train(data, out)
    assert text.exit_code == 0 and f"{out}: eat-s-aa, 1 epoch, training loss" in text.stdout
    assert "validation accuracy" in text.stdout


def test_other_settings_in_the_same_folder_are_refused(
    data: Path, trained: tuple[Path, Result]
) -> None:
    refused = train(data, trained[0], lr="0.001")
    assert refused.exit_code == 3 and not refused.stdout
    assert "recipe.max_lr: saved 0.0003, now 0.001" in refused.stderr
    assert "load the train clips" not in refused.stderr


def test_another_run_is_refused_before_a_clip_is_decoded(
    data: Path, trained: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("gmme_edge.workflows.training_setup.load_clips", decode)
    for changes, told in (({"lr": "0.001"}, "recipe.max_lr"), ({"samples": "8192"}, "n_samples"),
                          ({"validation-share": "0.2"}, "data.validation_share")):  # fmt: skip
        refused = train(data, trained[0], **changes)
        assert refused.exit_code == 3 and told in refused.stderr, refused.stderr
    refused = train(data, trained[0], init="digits", model=None)
    assert refused.exit_code == 3 and "init.name: saved None" in refused.stderr, refused.stderr


def test_restart_replaces_a_run(data: Path, tmp_path: Path) -> None:
    """Another model in the same folder."""
    assert train(data, tmp_path, **SMALL).exit_code == 0
    refused = train(data, tmp_path, model="eat-s-gmme-lite-k4c2", **SMALL)
    assert refused.exit_code == 3 and "model.name: saved 'eat-s-aa'" in refused.stderr
    restarted = train(data, tmp_path, "--restart", model="eat-s-gmme-lite-k4c2", **SMALL)
    assert restarted.exit_code == 0, restarted.stderr
    assert load_checkpoint(tmp_path).spec.name == "eat-s-gmme-lite-k4c2"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"dataset": "esc51"}, 2, "Unknown data set 'esc51'"),
        ({"dataset": "esc50"}, 2, "--fold 1"),
        ({"dataset": "esc50", "fold": "6"}, 2, "fold is 6"),
        ({"fold": "1"}, 3, "is divided by its folders"),
        ({"folds": "all", "fold": "1"}, 2, "Both --fold and --folds"),
        ({"folds": "0"}, 2, "--folds 0"),
        ({"folds": "1,6"}, 2, "different folds from 1 to 5"),
        ({"folds": "1,1"}, 2, "--folds 1,1"),
        ({"folds": "first"}, 2, "--folds first"),
        ({"dataset": "speech-commands", "folds": "all"}, 2, "has no folds"),
        ({"against": "other.json"}, 2, "--against without --folds"),
        ({"folds": "all", "against": "absent.json"}, 3, "absent.json does not exist"),
        ({"model": "eat-s-xx"}, 2, "Unknown model 'eat-s-xx'"),
        ({"task": None}, 2, "--task"),
        ({"task": "esc51"}, 2, "Unknown task 'esc51'"),
        ({"data": "absent"}, 3, "absent"),
        ({"model": None}, 2, "No --model is given"),
        ({"recipe": "esc51"}, 2, "'esc51'"),
        ({"set": "max_lrr=1"}, 2, "no max_lrr"),
        ({"set": "mixing"}, 2, "name=value"),
        ({"set": "mixing=maybe"}, 2, "true or false"),
        ({"ema-unit": "week"}, 2, "ema_unit = week"),
        ({"precision": "8"}, 2, "precision = 8"),
        ({"freeze": "stem"}, 2, "--freeze without --init"),
        ({"layer-decay": "0.7"}, 2, "--layer-decay without --init"),
        ({"teacher-weight": "0.5"}, 2, "--teacher-weight without --teacher"),
        ({"init": "absent"}, 3, "absent"),
        ({"teacher": "absent"}, 3, "absent"),
        ({"epochs": "0"}, 2, "epochs"),
        ({"lr": "-1"}, 2, "max_lr = -1"),
        ({"lr": "nan"}, 2, "--lr is nan"),
        ({"seed": "-1"}, 2, "seed = -1"),
        ({"device": "abacus"}, 2, "abacus"),
        ({"threads": "0"}, 2, "threads"),
        ({"samples": "8000"}, 2, "too short"),
        ({"samples": "16385"}, 2, "whole number of tokens"),
        ({"factors": "4;4"}, 2, "4;4"),
        ({"factors": "4,1"}, 2, "factors"),
        ({"factors": ""}, 2, "--factors ''"),
        ({"seed": "1" + "0" * 20}, 2, "seed"),
        ({"epochs": "1" + "0" * 20}, 2, "epochs"),
        ({"samples": str(1 << 33)}, 2, "samples"),
        ({"sample-rate": "1" + "0" * 11}, 2, "sample-rate"),
        ({"threads": "1000000"}, 2, "threads"),
        ({"threads": "9" * 11}, 2, "threads"),
        ({"set": "betas=0.9,nan"}, 2, "betas"),
        ({"set": "qat_float=nope"}, 2, "qat_float = nope"),
        ({"device": "mps"}, 2, "mps"),
        ({"validation-share": "0.1"}, 2, "--validation-share"),
    ],
    ids=str,
)
def test_exit_codes(
    data: Path, tmp_path: Path, changes: dict[str, str | None], code: int, message: str
) -> None:
    result = train(data, tmp_path / "out", **changes)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and not (tmp_path / "out").exists()


def test_options_go_before_the_recipe_and_set_before_both(data: Path, tmp_path: Path) -> None:
    flags = ("--set", "mixing=false", "--set", "gain_low=0.9", "--set", "epochs=2")
    result = train(data, tmp_path, *flags, "--restart", recipe="esc50", **SMALL, seed="3")
    assert result.exit_code == 0, result.stderr
    recipe = load_checkpoint(tmp_path).training["recipe"]
    wanted = {"mixing": False, "gain_low": 0.9, "epochs": 2, "ema_unit": "step", "seed": 3,
              "batch_size": 3, "max_lr": 3e-4, "precision": "32"}  # fmt: skip
    assert {name: recipe[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "epochs", "unit"), [("esc50", 3500, "epoch"), ("speech-commands", 300, "epoch")]
)
def test_without_epochs_the_schedule_is_the_recipes(name: str, epochs: int, unit: str) -> None:
    recipe = build_recipe(name, RecipeSettings())
    assert (recipe.epochs, recipe.ema_unit) == (epochs, unit)
    assert build_recipe(name, RecipeSettings(assign=("epochs=20",))).ema_unit == "step"
    assert (
        build_recipe(name, RecipeSettings(ema_unit="epoch", assign=("epochs=20",))).ema_unit
        == "epoch"
    )
    half = build_recipe(name, RecipeSettings(epochs=20, assign=("precision=bf16",)))
    assert half == build_recipe(name, RecipeSettings(epochs=20, precision="bf16"))
    assert half.epsilon == 1e-4


def test_audio_format_of_ones_own(data: Path, tmp_path: Path) -> None:
    """Rate, length and strides instead of the task's."""
    own = {"sample-rate": "8000", "samples": "4096", "factors": "4,8"}
    result = train(data, tmp_path, **own)
    assert result.exit_code == 0, result.stderr
    spec = load_checkpoint(tmp_path).spec
    assert (spec.sample_rate_hz, spec.n_samples, spec.factors) == (8000, 4096, (4, 8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_on_a_machine_without(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "out", device="cuda")
    assert result.exit_code == 7 and "--device cpu" in result.stderr


def test_output_that_is_a_file_is_refused_before_training(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    result = train(data, out)
    assert result.exit_code == 3 and str(out) in result.stderr
    assert "loss" not in result.stderr and out.read_text() == "mine"


def test_unreadable_recording(data: Path, tmp_path: Path) -> None:
    """Named and refused, or left out with --skip-bad."""
    root = tmp_path / "data"
    for source in data.rglob("*.wav"):
        target = root / source.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    bad = root / "train" / "low" / "bad.wav"
    bad.write_bytes(b"no audio")
    refused = train(root, tmp_path / "out")
    assert refused.exit_code == 3 and "bad.wav" in refused.stderr
    skipped = train(root, tmp_path / "out", "--skip-bad", "--no-augment")
    assert skipped.exit_code == 0, skipped.stderr
    assert "skipped 1 unreadable train clips" in skipped.stderr
    training = load_checkpoint(tmp_path / "out").training
    assert training["data"]["clips"] == 6 and not training["recipe"]["augment"]


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "net"
    result = train(data, out, model="eat-s-gmme-lite-k4c2", **SMALL)
    assert result.exit_code == 0, result.stderr
    return out


def test_init_gives_the_weights_the_format_and_the_model(
    data: Path, tmp_path: Path, pretrained: Path
) -> None:
    flags = ("--init", str(pretrained), "--freeze", "backbone", "--layer-decay", "0.5")
    result = train(data, tmp_path, *flags, task=None, model=None)
    assert result.exit_code == 0, result.stderr
    before, after = load_checkpoint(pretrained), load_checkpoint(tmp_path)
    assert after.spec == before.spec
    assert after.training["init"] == {"name": pretrained.name, "sha256": before.sha256}
    assert (after.training["recipe"]["freeze"], after.training["recipe"]["layer_decay"]) == (
        "backbone", 0.5,
    )  # fmt: skip
    old, new = before.model.state_dict(), after.model.state_dict()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {"classify.weight", "classify.bias"}


def test_teacher_is_noted_and_its_weight_is_a_half(
    data: Path, tmp_path: Path, pretrained: Path
) -> None:
    result = train(data, tmp_path, "--teacher", str(pretrained), **SMALL)
    assert result.exit_code == 0, result.stderr
    training = load_checkpoint(tmp_path).training
    assert training["teacher"]["sha256"] == load_checkpoint(pretrained).sha256
    assert training["recipe"]["teacher_weight"] == 0.5
    refused = train(data, tmp_path / "other", "--teacher", str(pretrained))
    assert refused.exit_code == 3 and "2048 samples at 8000 Hz" in refused.stderr


def test_init_that_does_not_fit_is_refused(data: Path, tmp_path: Path, pretrained: Path) -> None:
    """Its blocks, and its sample rate unless --any-rate."""
    refused = train(data, tmp_path / "a", "--init", str(pretrained), **SMALL)
    assert refused.exit_code == 3 and "down-sampling" in refused.stderr
    faster = {**SMALL, "sample-rate": "16000"}
    refused = train(data, tmp_path / "b", "--init", str(pretrained), **faster, model=None)
    assert refused.exit_code == 3 and "8000 Hz, not 16000 Hz" in refused.stderr
    flags = ("--init", str(pretrained), "--any-rate")
    taken = train(data, tmp_path / "b", *flags, **faster, model=None)
    assert taken.exit_code == 0, taken.stderr


def test_a_bundle_is_not_trained_over(data: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    refused = train(data, tmp_path, **SMALL)
    assert refused.exit_code == 2 and "is a bundle" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_tensorboard_is_missed_only_where_it_is_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("gmme_edge.training.run.journal.find_spec", lambda _: None)
    result = train(data, tmp_path / "a", **SMALL)
    assert result.exit_code == 0 and "[logging]" not in result.stderr
    result = train(data, tmp_path / "b", "--tensorboard", **SMALL)
    assert result.exit_code == 4 and "[logging]" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_run_exits_with_130_and_continues(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = arguments(data, tmp_path / "out", epochs="200")
    process = subprocess.Popen(
        [sys.executable, "-c", "from gmme_edge.cli.app import main; main()", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if "1/200 loss" in line:
            break
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), [*before, errors]
    assert "the same command continues it" in errors and "Traceback" not in errors
    loaded = load_checkpoint(tmp_path / "out")
    assert not loaded.training["finished"] and 2 <= loaded.training["step"] < 400
    assert f"stopped at step {loaded.training['step']}" in errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["load PyTorch", "prepare the network"])
def test_a_signal_before_the_first_step_ends_with_a_word_and_leaves_nothing(
    data: Path, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    command = arguments(data, tmp_path / "out", epochs="200")
    process = subprocess.Popen(
        [sys.executable, "-c", "from gmme_edge.cli.app import main; main()", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if moment in line:
            break
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, ""), [*before, errors]
    assert "stopped before a step was done" in errors and "Traceback" not in errors
    assert not (tmp_path / "out" / STATE).exists()
    assert not (tmp_path / "out" / "training.lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>/dev/full >/dev/full", "2>|p"])
def test_a_stderr_that_takes_nothing_costs_no_checkpoint(
    data: Path, tmp_path: Path, redirection: str
) -> None:
    """Full, closed, or a reader that is gone."""
    words = [sys.executable, "-c", "from gmme_edge.cli.app import main; main()"]
    words += arguments(data, tmp_path / "out", **SMALL)
    shell = f'exec "$@" {redirection}'
    if redirection == "2>|p":
        shell = '{ "$@" 2>&1 >/dev/null; } | true'
    subprocess.run(["bash", "-c", shell, "bash", *words], timeout=200, capture_output=True)
    assert load_checkpoint(tmp_path / "out").training["finished"]


def test_the_first_words_come_before_torch_is_loaded(data: Path, tmp_path: Path) -> None:
    """Which takes many seconds on a small machine."""
    code = """
import sys
import gmme_edge.cli.views.training as views
def stage(self, name):
    print(name, "torch" in sys.modules, "numpy" in sys.modules)
    raise SystemExit(9)
views.TrainingView.stage = stage
from gmme_edge.cli.app import main
main()
"""
    command = [sys.executable, "-c", code, *arguments(data, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    assert done.stdout.startswith("load PyTorch False")


def test_training_through_the_api_is_the_command(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """It continues what the command began; here nothing is left to do."""
    out = Path(shutil.copytree(pretrained, tmp_path / "net"))
    job = TrainingJob(
        data=LearningData(dataset="folder", data=data, cache=data.parent / "cache"),
        run=RunSettings(output=out),
        network=NetworkSettings(
            model="eat-s-gmme-lite-k4c2", task="speech-commands", sample_rate=8000, samples=2048,
            factors="4,4",
        ),
        recipe=RecipeSettings(epochs=1, batch_size=3),
        machine=MachineSettings(threads=1, device="cpu"),
    )  # fmt: skip
    trained = gmme_edge.train(job)
    assert trained is not None and trained.checkpoint == out and trained.watched == "validation"
    assert trained.figures == load_checkpoint(pretrained).training["history"][-1]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (out, pretrained)]
    assert weights[0] == weights[1]


def test_jobs_that_mean_nothing_are_told(data: Path, pretrained: Path, tmp_path: Path) -> None:
    def job(run: Path, **facts: object) -> TrainingJob:
        learning = LearningData(dataset="folder", data=data, **facts)  # type: ignore[arg-type]
        transfer = TransferSettings(init=str(pretrained))
        return TrainingJob(data=learning, run=RunSettings(output=run), transfer=transfer)

    with pytest.raises(UsageError, match="folds with train"):
        gmme_edge.train(job(tmp_path / "a", folds="all"))
    with pytest.raises(UsageError, match="without folds"):
        gmme_edge.cross_validate(job(tmp_path / "a"))
    with pytest.raises(UsageError, match="--init and -o are both"):
        gmme_edge.train(job(pretrained))
    folds = tmp_path / "folds"
    shutil.copytree(pretrained, folds / "fold-1")
    again = replace(job(folds, folds="1"), transfer=TransferSettings(init=f"{folds}/fold-{{fold}}"))
    with pytest.raises(UsageError, match=r"--init and -o are both .*fold-1"):
        gmme_edge.cross_validate(again)
    with pytest.raises(UsageError, match="data is"):
        TrainingJob(data="words", run=RunSettings(output=tmp_path / "a"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="without a fold"):
        source_path("folds/fold-{fold}", None)


@pytest.mark.parametrize("option", ["init", "teacher"])
def test_a_network_that_heard_the_test_clips_is_refused(
    data: Path, pretrained: Path, tmp_path: Path, option: str
) -> None:
    """Known by their content: in other folders and under other names."""
    root = tmp_path / "data"
    for label in LABELS:
        for split, name, source in (("train", "a", "validation"), ("test", "b", "train")):
            target = root / split / label / f"{name}.wav"
            target.parent.mkdir(parents=True)
            shutil.copy(data / source / label / "0.wav", target)
    refused = train(root, tmp_path / "out", f"--{option}", str(pretrained), **SMALL)
    assert refused.exit_code == 2, refused.stderr
    assert "3 of the 3 clips were trained on" in refused.stderr
    assert not (tmp_path / "out").exists()
