"""Which recordings a workflow works on, and how they are decoded."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class ClipSettings(Settings):
    """How recordings are decoded."""

    panel = "Data"

    cache: Path | None = setting(None, "Where decoded audio is kept; default ~/.cache/gmme-edge.")
    skip_bad: bool = setting(False, "Leave out recordings that cannot be decoded.", "--skip-bad")


@dataclass(frozen=True, kw_only=True)
class LabelledClips(ClipSettings):
    """A data set, and which part of it tests."""

    dataset: str = setting(
        MISSING, "Its layout: folder (one per class), csv, or a published one such as esc50."
    )
    data: Path = setting(MISSING, "The data set's folder, or CSV file.")
    fold: int | None = setting(None, "The fold to test on, where the data set has folds.")
