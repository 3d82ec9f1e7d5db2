"""Profiling and comparing from Python, and results that know their network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import UsageError
from gmme_edge.observer import Observer
from gmme_edge.report.documents import load_result
from gmme_edge.workflows.settings.comparing import CompareSettings
from gmme_edge.workflows.settings.profiling import ProfileSettings
from tests.bundles import make_bundle

QUICK = ProfileSettings(warmup=0, repetitions=3)


class Heard(Observer):
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps.append((done, total))


def test_profile_and_compare_are_functions(tmp_path: Path) -> None:
    for name in ("eat-s-aa", "eat-s-gmme-k32c8"):
        make_bundle(tmp_path / name, name)
    heard = Heard()
    bundles = [tmp_path / "eat-s-aa", tmp_path / "eat-s-gmme-k32c8"]
    result = gmme_edge.profile(bundles, QUICK, heard)
    assert heard.steps[-1] == (6, 6)
    assert set(result.noise) >= {"background_cores", "drift", "reasons"}
    path = tmp_path / "r.json"
    path.write_text(json.dumps(result.to_dict()))
    assert load_result(path).rows == result.rows  # type: ignore[union-attr]
    comparison = gmme_edge.compare([result], CompareSettings(baseline="eat-s-gmme-k32c8"))
    assert comparison.entries[1].ratio.latency == 1


def test_results_of_two_calls_are_two_runs(tmp_path: Path) -> None:
    make_bundle(tmp_path / "a", "eat-s-aa")
    make_bundle(tmp_path / "b", "eat-s-gmme-k32c8")
    one, two = (gmme_edge.profile([tmp_path / name], QUICK) for name in ("a", "b"))
    comparison = gmme_edge.compare([one, two])
    assert comparison.entries[1].ratio.latency is None
    assert any("run result 1, not result 2" in note for note in comparison.notes)


@pytest.mark.parametrize(
    "wrong", [{"repetitions": 0}, {"seed": -1}, {"batch": "0"}, {"threads": ""}]
)
def test_settings_check_themselves(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ProfileSettings(**wrong)  # type: ignore[arg-type]


def test_latency_and_accuracy_carry_the_weights_hash(bundle: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert len(manifest.weights_sha256) == 64
    out = tmp_path / "r.json"
    words = ["profile", bundle, "--precision", "fp32", "--repetitions", 2, "-o", out]
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    (row,) = load_result(out).rows  # type: ignore[union-attr]
    assert row.weights_sha256 == manifest.weights_sha256


def test_the_package_still_loads_nothing() -> None:
    code = "import sys, gmme_edge; print('numpy' in sys.modules, 'profile' in gmme_edge.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
