"""The licence of a network's recordings, from training to whoever loads it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import UsageError
from gmme_edge.licenses import LicenseWarning, join_licenses, license_of, noted, restriction
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.pretrained import list_names, resolve
from gmme_edge.workflows.scanning import scan
from gmme_edge.workflows.settings.scanning import ScanSettings, WorkerSettings
from tests.artifacts import (
    copy_bundle,
    edit_manifest,
    incremental_bundle,
    open_checkpoint,
    small_checkpoint,
    sounds,
)

SAYS = "was trained on recordings under CC-BY-NC-3.0, which restricts commercial use"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.stderr.split())


def license_bundle(bundle: Path, folder: Path, name: object) -> Path:
    copied = copy_bundle(bundle, folder)
    edit_manifest(copied, lambda values: values["provenance"]["data"].update(license=name))
    return copied


@pytest.fixture
def licensed(bundle: Path, tmp_path: Path) -> Path:
    return license_bundle(bundle, tmp_path / "net", "CC-BY-NC-3.0")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.tile(sounds()[0], 4), 8000)
    return path


RESTRICTING = (
    "CC-BY-NC-3.0",
    "CC BY-NC-SA 4.0",
    "CC_BY_NC_4.0",
    "CC BY NC4.0",
    "MIT AND CC-BY-NC-4.0",
    "NCGL-UK-2.0",
    "Creative Commons Attribution Non Commercial 3.0",
    "Non\N{NON-BREAKING HYPHEN}Commercial",
    "noncommercial",
    "not for commercial use",
)


@pytest.mark.parametrize("name", RESTRICTING)
def test_what_restricts_commerce(name: str) -> None:
    assert restriction("net", name).startswith(f"net was trained on recordings under {name}, ")


@pytest.mark.parametrize("name", ["", "CC-BY-3.0", "CC-BY-SA-4.0", "NCSA", "CC0-1.0", "Inc. 2"])
def test_what_does_not(name: str) -> None:
    assert restriction("net", name) == ""


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (("MIT",), "MIT"),
        (("CC-BY-3.0 AND MIT", "", "MIT", "CC0-1.0"), "CC-BY-3.0 AND MIT AND CC0-1.0"),
        (("MIT OR CC-BY-4.0", "CC-BY-3.0"), "(MIT OR CC-BY-4.0) AND CC-BY-3.0"),
        (("MIT OR CC-BY-4.0", "MIT OR CC-BY-4.0"), "MIT OR CC-BY-4.0"),
        (("A AND (B AND C)", "B"), "A AND (B AND C) AND B"),
    ],
)
def test_all_apply_at_once(names: tuple[str, ...], joined: str) -> None:
    assert join_licenses(*names) == joined


def test_many_are_read_again_or_refused() -> None:
    names = [f"CC-BY-NC-{i}.0" for i in range(200)]
    assert license_of(noted(*names)) == " AND ".join(names)
    with pytest.raises(UsageError, match="characters together"):
        noted(*names, *(name.lower() for name in names))


@pytest.mark.parametrize("name", [1, None, ["MIT"], "", " MIT", "M\x1b[31mIT", "x" * 4001])
def test_a_hostile_manifest_shows_nothing(bundle: Path, tmp_path: Path, name: object) -> None:
    assert license_of({"license": name}) == ""
    opened = gmme_edge.load(license_bundle(bundle, tmp_path / "net", name))
    assert opened.data_license == ""
    opened.close()


@pytest.mark.parametrize("data", [[1], "MIT", None])
def test_a_hostile_note_of_the_data_has_none(root: Path, data: object) -> None:
    assert license_of(data) == ""
    odd = replace(open_checkpoint(root), training={"data": data})
    assert odd.with_data_license("MIT").origin == {"license": "MIT"}


def test_load_states_it_where_it_was_called(licensed: Path) -> None:
    with pytest.warns(LicenseWarning, match=f"net {SAYS}") as caught:
        classifier = gmme_edge.load(licensed)
    assert caught[0].filename == __file__
    assert classifier.data_license == "CC-BY-NC-3.0"
    classifier.close()


def test_an_incremental_classifier_states_it(root: Path, tmp_path: Path) -> None:
    copied = license_bundle(incremental_bundle(root), tmp_path / "net", "CC-BY-NC-3.0")
    with pytest.warns(LicenseWarning, match=SAYS) as caught:
        classifier = gmme_edge.load_incremental(copied)
    assert classifier.data_license == "CC-BY-NC-3.0"
    classifier.close()
    assert caught[0].filename == __file__


def test_the_service_states_it(licensed: Path) -> None:
    from gmme_edge.service.listener import open_listener

    with pytest.warns(LicenseWarning, match=SAYS):
        listener = open_listener(licensed)
    assert listener.facts["data_license"] == "CC-BY-NC-3.0"
    listener.close()


def test_so_does_its_command(licensed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gmme_edge.service import server

    monkeypatch.setattr(server, "serve", lambda *_: None)
    assert f"note: net {SAYS}" in said(run("serve", licensed))


def test_a_scan_states_it_where_it_was_called(licensed: Path, sound: Path, tmp_path: Path) -> None:
    with pytest.warns(LicenseWarning, match=SAYS) as caught:
        scan(
            licensed,
            [sound],
            ScanSettings(output=tmp_path / "out"),
            workers=WorkerSettings(workers=1),
        )
    assert caught[0].filename == __file__


def test_commands_that_hear_state_it_once(licensed: Path, sound: Path, tmp_path: Path) -> None:
    for words in (
        ("predict", licensed, sound),
        ("listen", licensed, "--file", sound, "--no-gate"),
        ("scan", sound, "-m", licensed, "-o", tmp_path / "out", "--workers", 1),
    ):
        told = said(run(*words))
        assert told.count(f"note: net {SAYS}") == 1, (words, told)


def test_a_bundle_in_this_folder_has_a_name(
    licensed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(licensed)
    with pytest.warns(LicenseWarning, match=f"^net {SAYS}"):
        gmme_edge.load(".").close()


def test_its_card_states_it(licensed: Path) -> None:
    (licensed / "README.md").write_text("# net\n")
    done = run("models", licensed)
    assert SAYS in " ".join(done.output.split())


def test_shipped_models_state_theirs_and_restrict_nothing() -> None:
    stated = {name: Bundle.open(name).manifest.data_license for name in list_names()}
    assert stated == {
        "digits": "CC-BY-SA-4.0",
        "digits-edge": "CC-BY-SA-4.0",
        "esc10": "CC-BY-3.0",
        "esc10-edge": "CC-BY-3.0",
    }
    for name, given in stated.items():  # for what is trained from them
        data = load_checkpoint(resolve(name)).training["data"]
        assert data["license"] == given
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gmme_edge.load("digits").close()


def test_training_and_export_note_it(root: Path, tmp_path: Path) -> None:
    """A start's licence stays with what is trained from it, in a compact bundle too."""
    for label in ("high", "low"):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        for i in range(2):
            noise = np.random.default_rng(i).normal(0, 0.1, 1024)
            soundfile.write(tmp_path / "data" / "train" / label / f"{i}.wav", noise, 8000)
    start = tmp_path / "start"
    given = open_checkpoint(root).with_data_license("CC-BY-NC-3.0")
    from gmme_edge.models.checkpoint import save_checkpoint

    save_checkpoint(start, given.spec, given.model.state_dict(), given.labels, given.training)
    learn = ("train", "--dataset", "folder", "--data", tmp_path / "data", "--init", start)
    said(run(*learn, "-o", tmp_path / "ckpt", "--epochs", 1, "--data-license", "MIT", "-q"))
    other = run(*learn, "-o", tmp_path / "ckpt", "--epochs", 1)  # would take it away
    assert other.exit_code == 3 and "data.license: saved 'MIT', now None" in other.stderr
    assert "load the train clips" not in other.stderr
    trained = load_checkpoint(tmp_path / "ckpt")
    assert trained.training["data"]["license"] == "CC-BY-NC-3.0 AND MIT"
    said(run(*learn, "-o", tmp_path / "kept", "--epochs", 1, "-q"))
    kept = load_checkpoint(tmp_path / "kept").training["data"]
    assert kept["license"] == "CC-BY-NC-3.0"
    fresh = ("--model", "eat-s-gmme-k32c8", "--task", "speech-commands", "--epochs", 1, "-q")
    network = (*fresh, "--sample-rate", 8000, "--samples", 1024, "--factors", "2,2")
    taught = ("train", "--dataset", "folder", "--data", tmp_path / "data", *network)
    said(run(*taught, "-o", tmp_path / "alone"))
    assert "license" not in load_checkpoint(tmp_path / "alone").training["data"]
    said(run(*taught, "--teacher", tmp_path / "ckpt", "-o", tmp_path / "taught"))
    data = load_checkpoint(tmp_path / "taught").training["data"]
    assert data["license"] == "CC-BY-NC-3.0 AND MIT"
    exporting = ("export", tmp_path / "ckpt", "-o", tmp_path / "bundle", "--compact")
    said(run(*exporting, "--data-license", "CC0-1.0", "-q"))
    expected = "CC-BY-NC-3.0 AND MIT AND CC0-1.0"
    assert Bundle.open(tmp_path / "bundle").manifest.data_license == expected
    assert load_checkpoint(tmp_path / "bundle").training["data"]["license"] == expected


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_what_is_no_licence(root: Path, tmp_path: Path, name: str) -> None:
    words = ("export", small_checkpoint(root), "-o", tmp_path / "b", "--data-license", name)
    done = run(*words)
    assert done.exit_code == 2
    assert "--data-license is" in done.stderr and not (tmp_path / "b").exists()


def test_random_weights_have_none(tmp_path: Path) -> None:
    words = ("--untrained", "--task", "esc50", "--data-license", "MIT", "-o", tmp_path / "b")
    done = run("export", "eat-s-aa", *words)
    assert done.exit_code == 2 and "--data-license with --untrained" in done.stderr
