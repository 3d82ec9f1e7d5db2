"""Whoever lets `auto` choose is told what it chose and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.runtime import choosing
from gmme_edge.runtime.choosing import Choice
from gmme_edge.service import listener
from gmme_edge.service.listener import open_listener
from gmme_edge.workflows import scanning
from gmme_edge.workflows.settings.running import BackendSettings

WHY = "ort-cpu is the fastest here that agrees with the export: ort-cpu in fp32 1.2 ms a window"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, 16_000), 8000)
    return tmp_path / "a.wav"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The choice itself has tests of its own; here it is made, and counted."""
    calls: list[object] = []

    def choose(*given: object) -> Choice:
        calls.append(given)
        return Choice("ort-cpu", WHY, "")

    for module in (choosing, scanning, listener):
        monkeypatch.setattr(module, "choose_backend", choose)
    return calls


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--backend", "auto"])


def test_predict_and_listen_tell_it(recording: Path, asked: list[object], tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    for arguments in (
        ("predict", "digits", recording, "--json"),
        ("listen", "digits", "--file", recording, "--json", "--events", log),
    ):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
        assert done.stderr.count(f"note: {WHY}\n") == 1
    head = json.loads(log.read_text().splitlines()[0])
    assert (head["backend"], head["backend_reason"]) == ("ort-cpu", WHY)
    assert len(asked) == 2


def test_a_scan_tells_it_and_goes_on_with_it(
    recording: Path, asked: list[object], tmp_path: Path
) -> None:
    arguments = ("scan", recording, "-m", "digits", "-o", tmp_path / "out", "--workers", 1)
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    assert f"note: {WHY}\n" in done.stderr
    found = json.loads(done.stdout)
    assert (found["parameters"]["backend"], found["backend_reason"]) == ("ort-cpu", WHY)
    again = run(*arguments)
    assert again.exit_code == 0 and "begun with" in again.stderr and len(asked) == 1
    assert run(*arguments, "--restart").exit_code == 0 and len(asked) == 2


def test_a_service_tells_it(asked: list[object]) -> None:
    for backend, why in (("auto", WHY), ("ort-cpu", "")):
        opened = open_listener("digits", BackendSettings(backend=backend, threads=1))
        assert (opened.facts["backend"], opened.facts["backend_reason"]) == ("ort-cpu", why)
        opened.close()
