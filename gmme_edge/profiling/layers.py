"""Where the time goes inside a network: per layer and per block, as the engine itself tells it.

ONNX Runtime writes a trace of its nodes; TensorRT tells an ``IProfiler`` of its layers.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from msgspec import to_builtins
from numpy.typing import NDArray

from gmme_edge.blocks import block_of, span_of
from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.fields import Count, NotNegative, Sha256, Text
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.profiling.latency import Contender
from gmme_edge.profiling.rounds import LatencySettings
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.runtime.onnxruntime import OnnxRuntimeSession

ENGINE_BLOCK = "engine"
"""What the engine adds of its own between blocks, such as changes of layout."""

LAYER_BACKENDS = ("ort-cpu", "tensorrt", "tensorrt-rtx")

_SUFFIX = "_kernel_time"
_ORDER = ("input", "stem", "stage", "head", ENGINE_BLOCK)


@dataclass(frozen=True)
class LayerTime:
    """One node as the engine runs it, fusions included; `median_ms` is over the timed calls."""

    name: Text
    operator: Text
    block: Text
    median_ms: NotNegative


@dataclass(frozen=True)
class LayerProfile:
    """The nodes or layers of one precision of a bundle in the order in which they ran."""

    bundle: Text
    precision: Text
    threads: Count | None
    batch: Count
    layers: tuple[LayerTime, ...]
    weights_sha256: Sha256 = ""
    bundle_sha256: Sha256 = ""
    backend: Text = "ort-cpu"

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
        return {**to_builtins(self), "total_ms": self.total_ms, "blocks_ms": self.blocks_ms()}


def _position(block: str) -> tuple[int, str]:
    return next(i for i, prefix in enumerate(_ORDER) if block.startswith(prefix)), block


def profile_layers(
    contender: Contender,
    settings: LatencySettings,
    trace: list[dict[str, Any]] | None = None,
    rebuild: Rebuild | None = None,
) -> LayerProfile:
    """Time every node of one precision on ``ort-cpu``, or every layer of its TensorRT engine.

    Profiling costs a few microseconds per node: compare parts of one profile with each other, and
    take whole networks' latencies from `latency.measure`.

    Args:
        trace: where ONNX Runtime's own events are added.
        rebuild: may build the engine, where the bundle has none that fits.

    Raises:
        UsageError: another backend, or the bundle lacks this precision.
        PlatformError: the engine's trace could not be written, for want of room.
    """
    if contender.backend not in LAYER_BACKENDS:
        raise UsageError(f"Layers on {contender.backend}.", f"one of {', '.join(LAYER_BACKENDS)}.")
    if contender.backend == "ort-cpu":
        layers = _node_times(contender, settings, trace)
    else:
        layers = _engine_times(contender, settings, rebuild)
    return LayerProfile(
        contender.bundle.path.resolve().name,
        contender.precision,
        contender.threads,
        contender.batch,
        layers,
        contender.weights_sha256,
        contender.bundle_sha256,
        contender.backend,
    )


def _node_times(
    contender: Contender, settings: LatencySettings, trace: list[dict[str, Any]] | None
) -> tuple[LayerTime, ...]:
    bundle, precision = contender.bundle, contender.precision
    clips = golden_batch(bundle, contender.batch)
    warmup = settings.warmup or 0
    with tempfile.TemporaryDirectory() as scratch:
        session = OnnxRuntimeSession(
            bundle,
            contender.backend,
            precision,
            contender.threads,
            profile_prefix=Path(scratch) / "profile",
        )
        try:
            for _ in range(warmup + settings.repetitions):
                session.run(clips)
            events = _read_trace(session.end_profiling())
        finally:
            session.close()
    if trace is not None:
        trace += events
    return _layers(events, warmup)


class _TimesLayers(Protocol):
    """What `TensorRTSession` has beyond a session."""

    def time_layers(self, waveform: NDArray[np.float32]) -> list[tuple[str, float]]: ...


def _engine_times(
    contender: Contender, settings: LatencySettings, rebuild: Rebuild | None
) -> tuple[LayerTime, ...]:
    """The medians of an engine's layers, without copies; a name that comes twice is summed."""
    clips = golden_batch(contender.bundle, contender.batch)
    session = open_session(contender.bundle, contender.backend, contender.precision, None, rebuild)
    times: dict[str, list[float]] = defaultdict(list)
    try:
        timed = cast(_TimesLayers, session)
        for index in range((settings.warmup or 0) + settings.repetitions):
            run_ms: dict[str, float] = defaultdict(float)
            for name, ms in timed.time_layers(clips):
                run_ms[name] += ms
            if index >= (settings.warmup or 0):
                for name, ms in run_ms.items():
                    times[name].append(ms)
    finally:
        session.close()
    return tuple(
        LayerTime(name, _operators_in(name), span_of(name, ENGINE_BLOCK), float(np.median(ms)))
        for name, ms in times.items()
    )


def _operators_in(name: str) -> str:
    """``Conv + PRelu`` of a layer whose name joins those of ONNX nodes."""
    found = dict.fromkeys(re.findall(r"/([A-Z][A-Za-z]+)", name))
    return " + ".join(found) or ENGINE_BLOCK


def _read_trace(path: Path) -> list[dict[str, Any]]:
    """ONNX Runtime's trace; it says nothing where the disk is full, and leaves a part of it."""
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        folder = path.parent.parent
        raise PlatformError(
            f"ONNX Runtime's trace in {folder} is cut off or missing: {error}",
            "room for it; a trace takes some megabytes.",
            f"free space in {folder}, or set TMPDIR to a folder with room.",
        ) from error
    return list(events)


def node_events(events: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(node, what the trace says of it) of every run of every node."""
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            yield event["name"].removesuffix(_SUFFIX), event["args"]


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
