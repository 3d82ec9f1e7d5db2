"""What `verify` checks, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.settings import setting
from gmme_edge.workflows.settings.running import BackendSettings


@dataclass(frozen=True, kw_only=True)
class VerifySettings(BackendSettings):
    """Which outputs are compared, and whom to trust."""

    precision: str | None = setting(None, "Default: all that the backend runs.")
    trust: str | None = setting(
        None,
        "A public key, or its file: the bundle must be signed with it (`sign`).",
        panel="Trust",
    )
    sha256: str | None = setting(None, "What the SHA-256 of manifest.json must be.", panel="Trust")
