from __future__ import annotations

from pathlib import Path

import pytest

from tests.artifacts import artifacts_root, full_bundle


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts_root(tmp_path_factory)


@pytest.fixture(scope="session")
def bundle(root: Path) -> Path:
    """The small network in every precision; not to be changed."""
    return full_bundle(root)
