"""Which recordings a workflow works on, and how they are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class ClipSettings(Settings):
    """How recordings are decoded."""

    panel = "Data"

    cache: Path | None = setting(None, "Where decoded audio is kept; default ~/.cache/gmme-edge.")
    skip_bad: bool = setting(False, "Leave out recordings that cannot be decoded.", "--skip-bad")
