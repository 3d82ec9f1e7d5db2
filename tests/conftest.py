"""What several test modules share: a network small enough to train, and the files beside it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gmme_edge.spec import Backbone, Downsample, ModelSpec

# The consoles read them once, when they are first imported; a test's worker finds them set.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)

# With a worker on every core, the threads of a program that a test starts only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared"

TINY = ModelSpec("tiny", Backbone(4, 32, 64, 2, 4), Downsample("aa"), 8000, 8192, (4, 4, 4), 3)
DOWNSAMPLES = (Downsample("aa"), Downsample("gmme", 8, 4), Downsample("gmme-lite", 8, 4))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For ``-n auto``: each worker keeps a core busy, and takes up to 1.5 GB of memory."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return min(len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1, 8)


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
def torch_for_tests() -> Iterator[None]:
    """One thread, since the networks are small and sums keep their order; an exporter untraced.

    Coverage would follow torch's exporter line by line, for half as much time again.
    """
    if importlib.util.find_spec("torch") is None:  # a board's runtime
        yield
        return
    import torch

    before, export = torch.get_num_threads(), torch.onnx.export

    def untraced(*arguments: Any, **options: Any) -> object:  # noqa: ANN401
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return export(*arguments, **options)
        finally:
            sys.settrace(tracer)
            _call()

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.onnx.export", untraced)
        yield
    torch.set_num_threads(before)


def _call() -> None:
    """Coverage's tracer takes up its work again at the first call that it sees."""


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
