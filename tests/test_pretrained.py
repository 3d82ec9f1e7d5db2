"""Models that come with the package: by name wherever a bundle or a checkpoint is asked for.

Two small networks stand in for them (`shipped`); those really there are checked at the end.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

import gmme_edge
from gmme_edge import pretrained
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import BundleError, CheckpointError
from gmme_edge.licenses import LicenseWarning
from gmme_edge.models.checkpoint import open_checkpoint
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.parity import verify_bundle
from tests.artifacts import RATE_HZ, WORDS, copy_bundle, edit_manifest, sounds, write_words

MAX_BYTES = 21_000_000
OURS = tuple(sorted(path.parent.name for path in pretrained.FOLDER.glob("*/manifest.json")))
BESIDE = Path(__file__).parents[1] / "examples" / "models"  # trained on what forbids commercial use


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_names(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained.list_names() == ("small-aa", "small-gmme")
    for name in (".small-gmme.x1y2", "__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "planned").mkdir()
    (tmp_path / "planned" / "README.md").write_text("a card, no weights yet")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    assert pretrained.list_names() == ()


def test_a_path_goes_before_a_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrained.resolve("small-aa") == shipped / "small-aa"
    copy_bundle(shipped / "small-gmme", tmp_path / "small-aa")
    assert pretrained.resolve("small-aa") == Path("small-aa")
    assert Bundle.open("small-aa").manifest.model.name == "small-gmme"
    assert open_checkpoint("small-aa").spec.name == "small-gmme"
    for other in ("small-ab", "./small-gmme", "x/small-gmme", "", shipped / "small-aa"):
        assert pretrained.resolve(other) == Path(other)


def test_python_opens_both_halves_by_name(shipped: Path) -> None:
    with gmme_edge.load("small-gmme", threads=1) as classifier:
        assert classifier.labels == WORDS
        found = classifier.probabilities(sounds()[3], RATE_HZ)
    session = open_session(Bundle.open(Path("small-gmme")), threads=1)
    logits = session.run(sounds()[3:4])["logits"][0].astype(np.float64)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(), atol=1e-6)
    assert open_checkpoint("small-gmme").spec == Bundle.open("small-gmme").manifest.model


def test_an_unknown_name_lists_the_names(shipped: Path) -> None:
    with pytest.raises(BundleError, match="or a shipped model: small-aa, small-gmme"):
        gmme_edge.load("small-mme")
    with pytest.raises(CheckpointError, match="or a shipped model: small-aa, small-gmme"):
        open_checkpoint("small-mme")
    for command in (("verify", "x"), ("export", "x", "-o", "y"), ("predict", "x", "a.wav")):
        result = run(*command)
        assert result.exit_code == 3 and "small-aa, small-gmme" in result.stderr


def test_commands_take_the_name(shipped: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sounds()[1], RATE_HZ, subtype="FLOAT")
    predicted = run("predict", "small-gmme", tmp_path / "a.wav", "--json")
    assert predicted.exit_code == 0, predicted.output
    assert json.loads(predicted.stdout)[0]["predictions"][0]["label"] in WORDS
    verified = run("verify", "small-gmme", "--json")
    assert verified.exit_code == 0 and json.loads(verified.stdout)["bundle"] == "small-gmme"
    out = tmp_path / "out"
    exported = run("export", "small-gmme", "-o", out, "--precision", "fp32", "--opset", 17)
    assert exported.exit_code == 0, exported.output
    assert Bundle.open(out).manifest.labels == WORDS


def test_compact_from_the_command_line(shipped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported = run("export", "small-aa", "-o", out, "--compact", "--opset", 17)
    assert exported.exit_code == 0, exported.output
    assert Bundle.open(out).precisions == ("fp32",)
    assert open_checkpoint(out).labels == WORDS
    wrong = run("export", "small-aa", "-o", out, "--compact", "--precision", "fp16")
    assert wrong.exit_code == 2 and "fp32 among its precisions" in wrong.stderr


def test_evaluate_runs_either_half(shipped: Path, tmp_path: Path) -> None:
    words = write_words(tmp_path / "words")
    where = ["--dataset", "speech-commands", "--data", words, "--cache", tmp_path, "--json"]
    results = {}
    for backend in ("ort-cpu", "torch"):
        result = run("evaluate", "small-gmme", *where, "--backend", backend)
        assert result.exit_code == 0, result.output
        (results[backend],) = json.loads(result.stdout)["results"]
        assert results[backend]["backend"] == backend
    assert results["torch"]["confusion"] == results["ort-cpu"]["confusion"]
    assert (
        json.loads(run("evaluate", "small-gmme", *where).stdout)["results"][0]["backend"]
        == "ort-cpu"
    )
    refused = run("evaluate", "small-gmme", *where, "--backend", "torch", "--record")
    assert refused.exit_code == 2 and "--record" in refused.stderr


def test_models_shows_what_is_shipped(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the speech-commands format, since the command sorts models by task.
    mine = copy_bundle(shipped / "small-gmme", tmp_path / "words")
    measured = {"accuracy": 0.9875, "interval": [0.97, 0.99], "n": 300, "dataset": "fsdd",
                "split": "test", "fold": None, "backend": "ort-cpu"}  # fmt: skip

    def change(values: dict[str, dict[str, object]]) -> None:
        values["model"].update(sample_rate_hz=16_000, n_samples=16_384, factors=[4, 4, 4])
        values["accuracy"]["fp32"] = measured

    edit_manifest(mine, change)
    (mine / "README.md").write_text("# words\n\nHears words.\n")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (row,) = json.loads(run("models", "--json").stdout)["shipped"]
    assert (row["name"], row["task"], row["labels"]) == ("words", "speech-commands", list(WORDS))
    assert row["accuracy"] == measured
    on_disk = sum(file.stat().st_size for file in mine.iterdir() if file.suffix not in (".md",))
    assert row["size_bytes"] == on_disk - (mine / "manifest.json").stat().st_size
    text = run("models").stdout
    assert "10 classes: 0_steady" in text and "98.75% (97.0% to 99.0%) on 300 clips" in text
    assert json.loads(run("models", "--task", "esc50", "--json").stdout)["shipped"] == []
    assert "Hears words." in run("models", "words").stdout
    assert run("models", "nothing").exit_code == 3


@pytest.mark.parametrize("name", [*OURS, *BESIDE.glob("*/")], ids=lambda name: Path(name).name)
def test_a_model_of_this_project_is_whole(name: str | Path) -> None:
    bundle = Bundle.open(name)
    found = verify_bundle(
        bundle, lambda precision: open_session(bundle, "ort-cpu", precision), bundle.precisions
    )
    # It computes what its own graph computed, and that graph is the one for CPUs.
    assert set(found) == {"fp32"} and found["fp32"].repeat is not None
    assert bundle.manifest.provenance["lowering"]["ort-cpu"]
    assert open_checkpoint(name).labels == bundle.manifest.labels
    assert bundle.manifest.accuracy["fp32"]["n"] >= 80 and not bundle.manifest.untrained
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "{{" not in card and "CC BY" in card
    percent = int(bundle.manifest.accuracy["fp32"]["accuracy"] * 1000 + 0.5) / 10
    assert f"test accuracy, FP32 | {percent} %" in card


def test_a_model_beside_the_package_forbids_commercial_use() -> None:
    """That is why it lies there and not in the wheel."""
    found = sorted(BESIDE.glob("*/manifest.json"))
    assert [path.parent.name for path in found] == ["esc50-edge"]
    with pytest.warns(
        LicenseWarning, match="esc50-edge was trained on recordings under CC-BY-NC-3.0"
    ):
        classifier = gmme_edge.load(found[0].parent)
    assert len(classifier.labels) == 50 and "esc50-edge" not in pretrained.list_names()
    classifier.close()


def test_the_package_stays_small() -> None:
    files = [path for path in pretrained.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
