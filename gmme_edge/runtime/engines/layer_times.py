"""How long each layer of an engine takes, as TensorRT's IProfiler tells it."""

from __future__ import annotations

from types import ModuleType
from typing import List, Protocol, Tuple  # noqa: UP035

LayerMs = List[Tuple[str, float]]  # noqa: UP006 - evaluated, and Python 3.8 has no other
"""(layer's name, milliseconds) of one run, in the order in which they ran."""


class LayerTimer(Protocol):
    """An ``IProfiler`` that keeps what it is told."""

    reported: LayerMs


def make_layer_timer(library: ModuleType) -> LayerTimer:
    """For the attribute ``profiler`` of an execution context, which it slows."""

    class Timer(library.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.IProfiler.__init__(self)
            self.reported: LayerMs = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            # Called by the library; an exception here would end the process.
            self.reported.append((layer_name, ms))

    return Timer()
