"""What runs a bundle, as options of every command that runs one precision of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gmme_edge.errors import UsageError
from gmme_edge.runtime.backends import BACKEND_NAMES
from gmme_edge.settings import Settings, setting

MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class BackendSettings(Settings):
    """The engine, the precision, and the CPU threads."""

    panel = "Backend"

    backend: str = setting(
        "ort-cpu", f"One of {BACKEND_NAMES}; to predict and serve also auto, the fastest here."
    )
    precision: str | None = setting(None, "Default: the recommended one, else fp32.")
    threads: int | None = setting(
        None, "CPU threads; default: all cores of this machine.", least=1, most=MOST_THREADS
    )

    def check(self) -> None:
        if self.threads is not None:
            refuse_threads_on_gpus((self.backend,))


def refuse_threads_on_gpus(backends: Iterable[str]) -> None:
    """Raise `UsageError` where none of the backends counts CPU threads; call it if they are given.

    An unknown backend is left to whoever opens it.
    """
    from gmme_edge.runtime.backends import BACKENDS

    known = [BACKENDS[name] for name in backends if name in BACKENDS]
    if known and not any(row.on_cpu for row in known):
        raise UsageError(
            f"--threads with --backend {', '.join(row.name for row in known)}.",
            "a backend that runs on the CPU, or no --threads.",
        )


def refuse_rebuild_without_engines(backends: Iterable[str]) -> None:
    """Raise `UsageError` where none of the backends runs engines; call it if --rebuild is given."""
    from gmme_edge.runtime.backends import BACKENDS

    known = [BACKENDS[name] for name in backends if name in BACKENDS]
    if known and not any(row.needs_engine_file for row in known):
        raise UsageError(
            f"--rebuild with --backend {', '.join(row.name for row in known)}.",
            "tensorrt or tensorrt-rtx: others run the ONNX file itself.",
            "add --backend tensorrt, or leave --rebuild out.",
        )
