"""Numbers and names beyond what any machine has: a usage error, before any work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from tests.artifacts import small_checkpoint, write_words

TRAIN = {
    "threads": "99999999999", "seed": str(10**20), "batch-size": str(10**11), "samples": str(2**33),
    "sample-rate": str(10**11), "epochs": str(10**20), "factors": "", "device": "mps",
    "micro-batch": str(10**12), "devices": str(10**9), "lr": "nan", "ema-decay": "inf",
}  # fmt: skip
SET = ("betas=0.9,nan", "qat_float=nope", "epochs=1e20", "seed=99999999999999999999", "lr", "=1")
EXPORT = (
    ("--opset", "0"), ("--opset", str(10**20)), ("--precision", ""), ("--precision", "int4"),
    ("--engine", "tensorrt", "--workspace-mib", str(10**18)),
    ("--engine", "tensorrt", "--max-batch", str(10**12)),
    ("--engine", "tensorrt-rtx", "--sm", ""), ("--max-error", "nan"),
)  # fmt: skip
PROFILE = (("--threads", "99999999999"), ("--threads", "1000000"), ("--batch", str(10**11)),
           ("--repetitions", str(10**20)), ("--seed", str(10**20)), ("--duration", "inf"),
           ("--precision", ""), ("--threads", "9" * 5000))  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words") / "w", 3)


def refused(*arguments: object) -> None:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("given", [*TRAIN.items(), *(("set", value) for value in SET)])
def test_train(words: Path, tmp_path: Path, given: tuple[str, str]) -> None:
    name, value = given
    refused("train", "--dataset", "speech-commands", "--data", words, "-o", tmp_path / "out",
            "--model", "eat-s-aa", f"--{name}", value)  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", EXPORT)
def test_export(root: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    refused("export", small_checkpoint(root), "-o", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", PROFILE)
def test_profile(bundle: Path, options: tuple[str, ...]) -> None:
    refused("profile", bundle, *options)


@pytest.mark.parametrize("command", ["predict", "verify", "evaluate", "serve"])
def test_threads_of_every_command(bundle: Path, words: Path, command: str) -> None:
    more = {"predict": [words / "0.wav"], "evaluate": ["--dataset", "folder", "--data", words]}
    for threads in ("99999999999", "1000000", "0", "-1", "x"):
        refused(command, bundle, *more.get(command, []), "--threads", threads)


def test_an_empty_address_is_no_network(bundle: Path) -> None:
    refused("serve", bundle, "--host", "")


def test_an_unknown_precision_is_not_answered_with_itself(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(bundle), "--precision", "int4"])
    assert done.exit_code == 2 and "fp32" in done.stderr
    assert "again with --precision int4" not in " ".join(done.stderr.split())


@pytest.mark.parametrize("options", [("--epochs", "0"), ("--model", "no"), ("--set", "x=1")])
def test_wrong_options_are_told_before_torch_is_asked_for(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, str]
) -> None:
    """Its import takes many seconds. Whether it is installed at all is asked without it."""
    train = ["train", "--dataset", "speech-commands", "--data", words, "-o", tmp_path / "out"]
    model = [] if "--model" in options else ["--model", "eat-s-aa"]
    monkeypatch.setitem(sys.modules, "torch", None)  # it cannot be imported
    monkeypatch.setattr("gmme_edge.workflows.training._miss_torch", lambda: None)
    refused(*train, *model, *options)
