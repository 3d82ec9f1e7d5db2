"""What `verify` checks, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class VerifySettings(Settings):
    """Which outputs are compared, and whom to trust."""

    backend: str = setting("ort-cpu", "ort-cpu, ort-cuda, tensorrt, tensorrt-rtx.")
    precision: str | None = setting(None, "Default: all that the backend runs.")
    threads: int | None = setting(
        None, "CPU threads; default: all cores of this machine.", least=1, most=1024
    )
    trust: str | None = setting(
        None, "A public key, or its file: the bundle must be signed with it (`sign`)."
    )
    sha256: str | None = setting(None, "What the SHA-256 of manifest.json must be.")
