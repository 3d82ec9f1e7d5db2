"""What results are compared with, and when the difference is a failure."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class CompareSettings(Settings):
    """How results are related."""

    baseline: str | None = setting(
        None,
        "The model or bundle that the others are related to, as profile prints it; default: "
        "the AA network, else the first row.",
    )
