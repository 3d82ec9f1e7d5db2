"""The demo is the product's first impression: it must hold as a whole."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge import pretrained
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.data.everyday import imitate
from gmme_edge.installation import install_command
from tests.artifacts import WORDS, compact_bundle, copy_bundle


@pytest.fixture
def listener(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small network in the place of the shipped ``esc10``."""
    copy_bundle(compact_bundle(root), tmp_path / "shipped" / "esc10")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "shipped")


def test_a_shipped_model_listens_before_torch_is_needed(
    listener: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "demo"), "--threads", "1"])
    assert result.exit_code == 4 and install_command("train") in result.stderr
    heard = [line for line in result.stderr.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in heard] == list(imitate(8000))
    assert all(line.split("│")[2].strip() in WORDS for line in heard)
    assert not result.stdout and not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_demo_runs_the_whole_chain_and_continues(listener: None, tmp_path: Path) -> None:
    words = ["demo", "--epochs", "1", "-o", str(tmp_path / "demo"), "--json"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    entries = json.loads(first.stdout)["entries"]
    assert {(entry["model"], entry["precision"]) for entry in entries} == {
        (model, precision)
        for model in ("eat-s-aa", "eat-s-gmme-k32c8")
        for precision in ("fp32", "int8-ort")
    }
    gmme = next(e for e in entries if (e["model"], e["precision"]) == ("eat-s-gmme-k32c8", "fp32"))
    assert gmme["ratio"]["d_params"] == pytest.approx(17_496 / 493_056)
    assert all(entry["median_ms"] > 0 and entry["accuracy"] > 0.2 for entry in entries)
    assert (tmp_path / "demo/report.md").is_file()
    assert (tmp_path / "demo/report.svg").is_file()

    bundle = Bundle.open(tmp_path / "demo/eat-s-gmme-k32c8-bundle")
    bundle.check_files()
    roles = [file.role for file in bundle.manifest.files]
    assert roles.count("model") == 4
    assert roles.count("engine") == (3 if find_spec("tensorrt_rtx") else 0)

    state = tmp_path / "demo/eat-s-aa-checkpoint/model.json"
    before = json.loads(state.read_text())["training"]["history"]
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0, again.output
    assert json.loads(state.read_text())["training"]["history"] == before  # not trained twice
