"""What `predict` listens to, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.settings import setting
from gmme_edge.workflows.settings.running import BackendSettings


@dataclass(frozen=True, kw_only=True)
class PredictionSettings(BackendSettings):
    """What runs, and how much is told."""

    recursive: bool = setting(
        False, "Also listen to what is in folders of folders.", "--recursive", panel="Recordings"
    )
    top: int = setting(3, "Classes to show per recording.", least=1, most=1_000_000, panel="Output")
