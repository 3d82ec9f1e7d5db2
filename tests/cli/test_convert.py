"""`gmme-edge convert`: weights under the reference implementation's names become a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.spec import preset
from tests.models.random_weights import randomize
from tests.models.reference_names import as_reference


@pytest.fixture(scope="module")
def network() -> EAT:
    model = EAT(preset("eat-s-aa", "speech-commands"))
    randomize(model)
    return model


@pytest.fixture
def state(network: EAT) -> dict[str, Tensor]:
    return as_reference(network)


def convert(weights: Path, out: Path, *more: str, task: str = "speech-commands") -> Result:
    command = ["convert", str(weights), "--task", task, "--model", "eat-s-aa", "-o", str(out)]
    return CliRunner().invoke(app, [*command, *more])


def test_the_licence_of_its_recordings_is_noted(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    words = (tmp_path / "w.safetensors", tmp_path / "out", "--data-license")
    refused = convert(*words, " ")
    assert refused.exit_code == 2 and "--data-license is ' '" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert convert(*words, "CC-BY-NC-3.0").exit_code == 0
    assert load_checkpoint(tmp_path / "out").origin == {"license": "CC-BY-NC-3.0"}


@pytest.mark.parametrize("form", ["weights.safetensors", "weights.pt", "prefixed.pth"])
def test_converted_checkpoint_gives_the_same_logits(
    network: EAT, state: dict[str, Tensor], tmp_path: Path, form: str
) -> None:
    path, out = tmp_path / form, tmp_path / "out"
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif "prefixed" in form:
        torch.save({"state_dict": as_reference(network, "module.")}, path)
    else:
        torch.save(state, path)
    result = convert(path, out, "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["checkpoint"] == str(out) and printed["model"]["name"] == "eat-s-aa"
    loaded = load_checkpoint(out)
    assert loaded.spec == network.spec and loaded.training == {"converted_from": form}
    assert loaded.labels[0] == "class 0" and len(loaded.labels) == 35
    waveform = torch.randn(1, 1, 16_384, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.model(waveform), network(waveform))


def test_labels_name_the_classes(network: EAT, state: dict[str, Tensor], tmp_path: Path) -> None:
    """35 classes by default; --labels gives names and number of another head."""
    state["tf.fc.weight"], state["tf.fc.bias"] = torch.randn(2, 128), torch.randn(2)
    torch.save(state, tmp_path / "a.pt")
    (tmp_path / "labels.txt").write_text("Käse\n\n two words \n", encoding="utf-8")
    labels = ("--labels", str(tmp_path / "labels.txt"))
    result = convert(tmp_path / "a.pt", tmp_path / "out", *labels)
    assert result.exit_code == 0, result.stderr
    assert "2 classes" in result.stdout
    assert load_checkpoint(tmp_path / "out").labels == ("Käse", "two words")
    refused = convert(tmp_path / "a.pt", tmp_path / "no", *labels, "--classes", "3")
    assert refused.exit_code == 2 and "2 names for 3 classes" in refused.stderr
    by_number = convert(tmp_path / "a.pt", tmp_path / "numbered", "--classes", "2")
    assert by_number.exit_code == 0
    assert load_checkpoint(tmp_path / "numbered").labels == ("class 0", "class 1")
    assert not (tmp_path / "no").exists()


def spoil(state: dict[str, Tensor], key: str, value: Tensor | None) -> dict[str, Tensor]:
    return {k: v for k, v in {**state, key: value}.items() if v is not None}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tf.extra.weight", torch.zeros(2), "unknown tf.extra.weight (2,)"),
        ("start.1.weight", None, "missing stem.conv.weight (16, 1, 7)"),
        ("start.1.weight", torch.zeros(8, 1, 7), "stem.conv.weight has shape (8, 1, 7)"),
    ],
)
def test_mismatches_are_named(
    state: dict[str, Tensor],
    tmp_path: Path,
    key: str,
    value: Tensor | None,
    message: str,
) -> None:
    torch.save(spoil(state, key, value), tmp_path / "a.pt")
    result = convert(tmp_path / "a.pt", tmp_path / "out")
    assert result.exit_code == 3
    assert message in result.stderr and not result.stdout
    assert not (tmp_path / "out").exists()


def test_weights_of_another_task(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pt")
    result = convert(tmp_path / "a.pt", tmp_path / "out", task="esc50")
    assert result.exit_code == 3 and "factors (4, 4, 4, 4)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.pt", "--task", "esc50", "--model", "eat-s-aa"], 3, "absent.pt is no file"),
        (["a.pt", "--task", "esc51", "--model", "eat-s-aa"], 2, "Unknown task 'esc51'"),
        (["a.pt", "--task", "esc50", "--model", "eat-x"], 2, "Unknown model 'eat-x'"),
        (["a.pt", "--task", "esc50", "--model", "eat-s-aa"], 3, "a.pt cannot be read"),
        (["a.pt", "--task", "esc50", "--model", "eat-s-aa", "--labels", "no.txt"], 2, "no.txt"),
        (["a.pt", "--task", "esc50", "--model", "eat-s-aa", "--classes", "0"], 2, "classes"),
        (["a.pt", "--task", "esc50", "--model", "eat-s-aa", "--classes", "-3"], 2, "classes"),
    ],
)
def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pt").write_bytes(b"")
    result = CliRunner().invoke(app, ["convert", *arguments, "-o", "out"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and not Path("out").exists()


def test_what_holds_no_tensors_is_told_in_our_words(tmp_path: Path) -> None:
    """torch's own words tell how to load it all the same, with codes for a terminal."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:500])
    (tmp_path / "notes.pt").write_text("hello")
    for name in ("whole.pt", "cut.pt", "notes.pt"):
        result = convert(tmp_path / name, tmp_path / "out")
        told = f"{name} cannot be read: it is damaged, of another kind, or holds a whole network"
        assert result.exit_code == 3 and told in result.stderr
        assert "torch.save(model.state_dict()" in result.stderr
        assert "Unpickling" not in result.stderr and "x1b" not in result.stderr
    (tmp_path / "cut.safetensors").write_bytes(b"x" * 99)
    result = convert(tmp_path / "cut.safetensors", tmp_path / "out")
    assert result.exit_code == 3 and "header" in result.stderr


def test_output_that_is_a_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pt")
    (tmp_path / "out").write_text("mine")
    result = convert(tmp_path / "a.pt", tmp_path / "out")
    assert result.exit_code == 3 and str(tmp_path / "out") in result.stderr
    assert (tmp_path / "out").read_text() == "mine"
