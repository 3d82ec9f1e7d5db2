"""The bundle as models of a Triton server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, setting

TRITON_KINDS = ("cpu", "gpu", "tensorrt", "python")
_PANEL = "Triton"


@dataclass(frozen=True, kw_only=True)
class TritonSettings(Settings):
    """Which models, and how a server runs them."""

    triton: Path | None = setting(
        None, "Also write models into this repository of NVIDIA Triton's.", panel=_PANEL
    )
    triton_for: str = setting(
        "cpu,gpu,tensorrt",
        "Of cpu, gpu, tensorrt, python (the backend that calls this runtime), comma-separated.",
        needs="triton",
        panel=_PANEL,
    )
    triton_batch: int = setting(
        8,
        "Largest batch of windows that wait together.",
        least=1,
        most=1024,
        needs="triton",
        panel=_PANEL,
    )
    triton_instances: int = setting(
        1, "Copies of each model.", least=1, most=1024, needs="triton", panel=_PANEL
    )
    triton_threads: int = setting(
        1, "Threads of one copy on a CPU.", least=1, most=1024, needs="triton", panel=_PANEL
    )
    triton_delay_us: int = setting(
        2000,
        "How long a window waits for others, in microseconds.",
        least=0,
        most=10_000_000,
        needs="triton",
        panel=_PANEL,
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        named = (kind.strip() for kind in self.triton_for.split(","))
        return tuple(dict.fromkeys(kind for kind in named if kind))

    def check(self) -> None:
        if not self.kinds or set(self.kinds) - set(TRITON_KINDS):
            raise UsageError(
                f"--triton-for is {self.triton_for!r}.",
                f"a comma-separated list of {', '.join(TRITON_KINDS)}.",
            )
