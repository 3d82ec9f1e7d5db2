"""``backend="auto"``: the fastest that is right, measured once, and said."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import MissingDependencyError, PlatformError
from gmme_edge.runtime import choosing
from gmme_edge.runtime.backends import open_session as really_open
from gmme_edge.runtime.choosing import choose_backend, remembered_choices
from gmme_edge.runtime.session import Outputs, Session
from tests.artifacts import compact_bundle
from tests.bundles import make_bundle


class Altered:
    """A real session that is slower, or wrong."""

    def __init__(self, session: Session, name: str, delay_s: float, error: float) -> None:
        self.backend, self.precision = name, session.precision
        self._session, self._delay_s, self._error = session, delay_s, error

    def run(self, waveform: np.ndarray) -> Outputs:
        time.sleep(self._delay_s)
        return {k: v + self._error for k, v in self._session.run(waveform).items()}

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = make_bundle(tmp_path / "bundle")
    return Bundle(made.path, replace(made.manifest, parity={"fp32": {"limit": 1e-3}}))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three backends: a slow one, a fast one, a faster one that is wrong. What was opened."""
    kinds = {"ort-cpu": (0.02, 0.0), "openvino": (0.0, 0.0), "ort-cuda": (0.0, 9.0)}
    names: list[str] = []

    def open_session(bundle: Bundle, name: str, precision: str, *_: object) -> Session:
        names.append(name)
        return Altered(really_open(bundle, "ort-cpu", precision, 1), name, *kinds[name])

    def why(name: str) -> str | None:
        return None if name in kinds else f"{name} is not here.\nFix: buy one."

    monkeypatch.setattr(choosing, "open_session", open_session)
    monkeypatch.setattr(choosing, "why_unavailable", why)
    return names


def test_the_fastest_that_agrees_is_taken_and_the_others_are_told(
    bundle: Bundle, opened: list[str]
) -> None:
    choice = choose_backend(bundle)
    assert choice.backend == "openvino"
    for part in ("openvino in fp32", "ort-cpu in fp32", "left out: ort-cuda: ", "disagrees"):
        assert part in choice.reason
    told = "; `gmme-edge doctor` tells why openvino-gpu, tensorrt, tensorrt-rtx cannot run here"
    assert choice.reason.endswith(told)
    assert "buy one" not in choice.reason and "is not here" not in choice.reason
    assert ".;" not in choice.reason and ".," not in choice.reason


def test_a_choice_for_a_bundle_that_is_gone_is_not_shown(bundle: Bundle, opened: list[str]) -> None:
    choice = choose_backend(bundle)
    assert remembered_choices() == [choice]
    bundle.path.rename(bundle.path.with_name("elsewhere"))
    assert remembered_choices() == []


def test_where_no_backend_is_installed_each_reason_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "It is not here.\nFix: buy one."
    monkeypatch.setattr(choosing, "why_unavailable", lambda name: why)
    with pytest.raises(PlatformError, match="ort-cpu: It is not here; ort-cuda: It is not here;"):
        choose_backend(bundle)


def test_a_choice_is_remembered_for_these_files_and_this_machine(
    bundle: Bundle, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = choose_backend(bundle)
    opened.clear()
    assert choose_backend(bundle) == first and opened == []
    assert remembered_choices() == [first]
    choose_backend(bundle, threads=2)
    assert opened  # another question
    opened.clear()
    monkeypatch.setattr(choosing, "parse_cpu_model", lambda text: "another processor")
    choose_backend(bundle)
    assert opened


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1, "backend": "gone", "reason": ""}'])
def test_a_damaged_memory_is_measured_anew(
    bundle: Bundle, opened: list[str], tmp_path: Path, content: str
) -> None:
    choose_backend(bundle)
    (path,) = (tmp_path / "cache/gmme-edge/backends").iterdir()
    path.write_text(content)
    opened.clear()
    assert choose_backend(bundle).backend == "openvino" and opened
    assert json.loads(path.read_text())["backend"] == "openvino"


def test_a_cache_that_cannot_be_written_to_stops_nothing(
    bundle: Bundle, opened: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert choose_backend(bundle).backend == "openvino"


def test_where_nothing_works_each_reason_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Session:
        raise MissingDependencyError("It is gone.")

    monkeypatch.setattr(choosing, "why_unavailable", lambda name: None)
    monkeypatch.setattr(choosing, "open_session", fail)
    with pytest.raises(PlatformError, match="ort-cpu: It is gone"):
        choose_backend(bundle)


def test_a_classifier_says_what_was_chosen_and_why(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with gmme_edge.load(compact_bundle(root), "auto", threads=1) as classifier:
        assert classifier.backend in classifier.backend_reason.split()[0]
        assert "fastest here that agrees" in classifier.backend_reason
    with gmme_edge.load(compact_bundle(root), threads=1) as classifier:
        assert (classifier.backend, classifier.backend_reason) == ("ort-cpu", "")
