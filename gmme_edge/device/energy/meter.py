"""What every meter offers, and what is told of one that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

BOARD, GPU, CPU = "board", "GPU", "CPU"
"""What a meter covers; a board's includes the others."""


class Meter(Protocol):
    """Energy or power of one part of a machine.

    Attributes:
        name: the source, such as ``RAPL: package-0 + dram``.
        scope: `BOARD`, `GPU` or `CPU`.
        counts_energy: `read` returns joules since some moment; otherwise watts of now.
    """

    name: str
    scope: str
    counts_energy: bool

    def read(self) -> float:
        """Joules or watts; raises `OSError` where the source went away."""
        ...


@dataclass(frozen=True)
class Unreadable:
    """A source that is there and cannot be used, why, and the line that mends it."""

    name: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}. Fix: {self.fix}"


@dataclass(frozen=True)
class Meters:
    """What was found: readable ones, best first within a scope; and the others."""

    readable: list[Meter] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def choose(self, on_gpu: bool) -> Meter | None:
        """The meter of what computes: the whole board where it is measured, else that processor."""
        for scope in (BOARD, GPU if on_gpu else CPU):
            for meter in self.readable:
                if meter.scope == scope:
                    return meter
        return None
