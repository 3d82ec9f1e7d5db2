"""What several test modules share: a network small enough to train, and the files beside it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gmme_edge.spec import Backbone, Downsample, ModelSpec

# The consoles read them once, when they are first imported; a test's worker finds them set.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)

SHARED = Path(__file__).parents[2] / "shared"

TINY = ModelSpec("tiny", Backbone(4, 32, 64, 2, 4), Downsample("aa"), 8000, 8192, (4, 4, 4), 3)
DOWNSAMPLES = (Downsample("aa"), Downsample("gmme", 8, 4), Downsample("gmme-lite", 8, 4))


def shared(name: str) -> Path:
    """A file or folder of ``../shared``; the test is skipped where it is not on this machine."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path


@pytest.fixture(params=DOWNSAMPLES, ids=str)
def tiny(request: pytest.FixtureRequest) -> ModelSpec:
    """The tiny network with each kind of down-sampling in turn."""
    return replace(TINY, downsample=request.param)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The networks here are too small to gain from more, and sums keep their order."""
    if importlib.util.find_spec("torch") is None:  # a board's runtime
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.artifacts import artifacts_root  # here, for the tests that need no exporter

    return artifacts_root(tmp_path_factory)


@pytest.fixture
def shipped(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of two shipped models, ``small-aa`` and ``small-gmme``; not to be changed."""
    from tests.artifacts import compact_bundle

    folder = compact_bundle(root).parent
    compact_bundle(root, "aa")
    monkeypatch.setattr("gmme_edge.pretrained.FOLDER", folder)
    return folder


@pytest.fixture(scope="session")
def bundle(root: Path) -> Path:
    """The small network in every precision; not to be changed."""
    from tests.artifacts import full_bundle

    return full_bundle(root)
