"""What `predict` listens to, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class PredictionSettings(Settings):
    """What runs, and how much is told."""

    recursive: bool = setting(False, "Also listen to what is in folders of folders.", "--recursive")
    top: int = setting(3, "Classes to show per recording.", least=1)
    backend: str = setting("ort-cpu", "ort-cpu, ort-cuda, tensorrt, tensorrt-rtx.")
    precision: str | None = setting(None, "Default: the recommended one, else fp32.")
    threads: int | None = setting(
        None, "CPU threads; default: all cores of this machine.", least=1, most=1024
    )
