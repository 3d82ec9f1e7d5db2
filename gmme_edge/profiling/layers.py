"""Where the time goes inside a network: per node and per block, by ONNX Runtime's own profile."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmme_edge.blocks import block_of
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.runtime.onnxruntime import OnnxRuntimeSession

ENGINE_BLOCK = "engine"
"""What the engine adds of its own between blocks, such as changes of layout."""

_SUFFIX = "_kernel_time"
_ORDER = ("input", "stem", "stage", "head", ENGINE_BLOCK)


@dataclass(frozen=True)
class LayerTime:
    """One node as the engine runs it, fusions included; `median_ms` is over the timed calls."""

    name: str
    operator: str
    block: str
    median_ms: float


@dataclass(frozen=True)
class LayerProfile:
    """The nodes of one precision of a bundle in the order in which they ran."""

    bundle: str
    precision: str
    threads: int | None
    batch: int
    layers: tuple[LayerTime, ...]

    @property
    def total_ms(self) -> float:
        return sum(layer.median_ms for layer in self.layers)

    def blocks_ms(self) -> dict[str, float]:
        """The time of each block, in the network's order."""
        sums = self._sums("block")
        return {block: sums[block] for block in sorted(sums, key=_position)}

    def operators_ms(self) -> dict[str, float]:
        """The time of each operator, longest first."""
        sums = self._sums("operator")
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def _sums(self, field: str) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for layer in self.layers:
            sums[getattr(layer, field)] += layer.median_ms
        return dict(sums)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "total_ms": self.total_ms, "blocks_ms": self.blocks_ms()}


def _position(block: str) -> tuple[int, str]:
    return next(i for i, prefix in enumerate(_ORDER) if block.startswith(prefix)), block


def profile_layers(
    bundle: Bundle, precision: str, threads: int | None = 1, batch: int = 1,
    warmup: int = 5, repetitions: int = 30,
) -> LayerProfile:  # fmt: skip
    """Time every node of one precision on ``ort-cpu``.

    Profiling costs a few microseconds per node: compare parts of one profile with each other, and
    take whole networks' latencies from `latency.measure`.

    Raises:
        UsageError: no repetition, or the bundle lacks this precision.
    """
    if repetitions < 1 or warmup < 0:
        raise UsageError(f"{repetitions} repetitions after {warmup} calls.", "at least 1, and 0.")
    clips = golden_batch(bundle, batch)
    with tempfile.TemporaryDirectory() as scratch:
        session = OnnxRuntimeSession(
            bundle, "ort-cpu", precision, threads, profile_prefix=Path(scratch) / "profile"
        )
        for _ in range(warmup + repetitions):
            session.run(clips)
        events = json.loads(session.end_profiling().read_text())
        session.close()
    layers = _layers(events, warmup)
    return LayerProfile(bundle.path.resolve().name, precision, threads, batch, layers)


def _layers(events: Sequence[dict[str, Any]], warmup: int) -> tuple[LayerTime, ...]:
    """The medians of ONNX Runtime's trace events, microseconds to milliseconds."""
    times_us: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            key = event["name"].removesuffix(_SUFFIX), event["args"]["op_name"]
            times_us.setdefault(key, []).append(event["dur"])
    medians = {key: float(np.median(times[warmup:])) / 1000 for key, times in times_us.items()}
    return tuple(
        LayerTime(name, operator, block_of(name, ENGINE_BLOCK), median_ms)
        for (name, operator), median_ms in medians.items()
    )
