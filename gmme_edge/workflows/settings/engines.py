"""Which engines are built beside the graphs, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, setting

_PANEL = "Engines"
_MOST_BATCH = 1 << 16
_MOST_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class EngineSettings(Settings):
    """One engine per precision that TensorRT takes; for tensorrt-rtx one per GPU generation."""

    engine: str | None = setting(
        None, "Also build engines: tensorrt-rtx or tensorrt.", panel=_PANEL
    )
    sm: str | None = setting(
        None,
        "GPU generations for tensorrt-rtx, e.g. 86,89,120; default: this GPU's.",
        panel=_PANEL,
    )
    min_batch: int = setting(
        1, "Smallest batch of the engines.", least=1, most=_MOST_BATCH, needs="engine", panel=_PANEL
    )
    opt_batch: int | None = setting(
        None,
        "The batch that kernels are chosen for; default: --min-batch.",
        least=1,
        most=_MOST_BATCH,
        needs="engine",
        panel=_PANEL,
    )
    max_batch: int = setting(
        8, "Largest batch of the engines.", least=1, most=_MOST_BATCH, needs="engine", panel=_PANEL
    )
    workspace_mib: int | None = setting(
        None,
        "Limit of the engine's scratch memory.",
        least=1,
        most=_MOST_MIB,
        needs="engine",
        panel=_PANEL,
    )
    optimization_level: int | None = setting(
        None,
        "0: quick build, 5: quick engine; default: the library's, 3.",
        least=0,
        most=5,
        needs="engine",
        panel=_PANEL,
    )
    timing_cache: Path | None = setting(
        None,
        "File of kernel timings that shortens later builds (tensorrt).",
        needs="engine",
        panel=_PANEL,
    )
    compatibility: str = setting(
        "none",
        "Further GPUs to serve: none, ampere-plus or same-compute-capability (tensorrt).",
        needs="engine",
        panel=_PANEL,
    )
    version_compatible: bool = setting(
        False,
        "Later releases of the same major version can load the engine (tensorrt).",
        "--version-compatible",
        needs="engine",
        panel=_PANEL,
    )
    dla_core: int | None = setting(
        None,
        "Orin, Xavier: run what it can on this DLA core, the rest on the GPU.",
        least=0,
        most=63,
        needs="engine",
        panel=_PANEL,
    )

    def check(self) -> None:
        if self.sm is not None and self.engine is None:
            raise UsageError("--sm is for --engine tensorrt-rtx.", "both, or neither.")
        for _ in self.generations:
            pass

    @property
    def generations(self) -> tuple[int | None, ...]:
        """The GPU generations to build for, each once; None stands for this machine's."""
        if self.sm is None:
            return (None,)
        words = [word.strip() for word in self.sm.split(",")]
        for word in words:
            if not (word.isascii() and word.isdigit() and len(word) <= 4):
                raise UsageError(
                    f"--sm is {self.sm!r}.",
                    "numbers such as 86,89,120, with commas.",
                    "leave the dot of the compute capability out: 8.6 is 86.",
                )
        return tuple(dict.fromkeys(int(word) for word in words))
