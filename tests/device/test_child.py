"""A process of our own runs no code of the folder in which the user stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gmme_edge.device.child import run_python
from gmme_edge.profiling.memory import measure_memory
from tests.bundles import make_bundle

ROOT = Path(__file__).parents[2]
PLANTED = ("numpy", "random", "json", "gmme_edge")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds a bundle, and modules that would leave a trace."""
    folder = make_bundle(tmp_path / "bundle").path
    for name in PLANTED:
        code = f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r})"
        (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where tests run from the sources
    monkeypatch.chdir(folder)
    return tmp_path / "trace"


def test_memory_is_measured_without_the_modules_of_the_current_folder(planted: Path) -> None:
    from gmme_edge.bundle.bundle import Bundle

    assert measure_memory(Bundle.open("."), "ort-cpu", "fp32", 1, 1).peak_bytes > 0
    assert not planted.exists()


@pytest.mark.parametrize("given", ["", ".", ":"])
def test_an_empty_entry_of_the_python_path_is_not_followed(
    planted: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """An empty entry means the current folder; "." was named by the user, and is kept."""
    monkeypatch.setenv("PYTHONPATH", given)
    run_python("import random", [])
    assert planted.exists() == (given == ".")


def test_the_trap_would_have_worked(planted: Path) -> None:
    subprocess.run([sys.executable, "-c", "import random"], check=False)
    assert planted.exists()
