"""What several test modules share: a network small enough to train, and the files beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gmme_edge.spec import Backbone, Downsample, ModelSpec

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
