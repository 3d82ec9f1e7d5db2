"""How near each block comes to what the machine can do, and where time is lost.

Operations are those of convolutions and products of matrices, two per multiply-add, as the engine
runs them: channels that it fills up count. Bytes are those of every node's inputs, weights and
outputs, wherever they lie. Both follow from the shapes in ONNX Runtime's trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmme_edge.errors import UsageError
from gmme_edge.fields import Count, NotNegative, Sha256, Text
from gmme_edge.profiling.latency import Contender
from gmme_edge.profiling.layers import LayerProfile, node_events, profile_layers
from gmme_edge.profiling.peaks import Peaks
from gmme_edge.profiling.rounds import LatencySettings

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class BlockWork:
    """One block of the network in one call.

    Attributes:
        ideal_ms: the larger of operations at the peak and bytes at the cache's speed; no
            implementation is faster.
        bound: ``compute`` or ``memory``, whichever of the two is larger.
    """

    block: Text
    ms: NotNegative
    gflop: NotNegative
    megabytes: NotNegative
    gflop_per_s: NotNegative
    gb_per_s: NotNegative
    ideal_ms: NotNegative
    bound: Text

    @property
    def lost_ms(self) -> float:
        return max(0.0, self.ms - self.ideal_ms)


@dataclass(frozen=True)
class Roofline:
    """The blocks of one network, in its order."""

    bundle: Text
    precision: Text
    threads: Count
    batch: Count
    peaks: Peaks
    blocks: tuple[BlockWork, ...]
    weights_sha256: Sha256 = ""
    bundle_sha256: Sha256 = ""


def profile_roofline(contender: Contender, settings: LatencySettings, peaks: Peaks) -> Roofline:
    """Time every node, and compare its block with the machine's peaks.

    Raises:
        UsageError: another precision than fp32, whose operations and bytes the peaks are of; or
            what `layers.profile_layers` raises.
    """
    if contender.precision != "fp32":
        raise UsageError(f"A roofline of {contender.precision}.", "fp32.", "add --precision fp32.")
    contender = replace(contender, threads=peaks.threads)
    events: list[dict[str, Any]] = []
    profile = profile_layers(contender, settings, events)
    works = _work_of_nodes(events)
    return Roofline(
        bundle=profile.bundle,
        precision=profile.precision,
        threads=peaks.threads,
        batch=profile.batch,
        peaks=peaks,
        blocks=tuple(_block(profile, works, block, peaks) for block in profile.blocks_ms()),
        weights_sha256=profile.weights_sha256,
        bundle_sha256=profile.bundle_sha256,
    )


def _block(
    profile: LayerProfile, works: dict[str, tuple[float, float]], block: str, peaks: Peaks
) -> BlockWork:
    nodes = [layer for layer in profile.layers if layer.block == block]
    ms = sum(layer.median_ms for layer in nodes)
    flops = sum(works[layer.name][0] for layer in nodes)
    n_bytes = sum(works[layer.name][1] for layer in nodes)
    compute_ms = flops / peaks.gflop_per_s / 1e6
    memory_ms = n_bytes / peaks.cache_gb_per_s / 1e6
    return BlockWork(
        block=block,
        ms=ms,
        gflop=flops / 1e9,
        megabytes=n_bytes / 1e6,
        gflop_per_s=flops / ms / 1e6 if ms else 0.0,
        gb_per_s=n_bytes / ms / 1e6 if ms else 0.0,
        ideal_ms=max(compute_ms, memory_ms),
        bound="compute" if compute_ms >= memory_ms else "memory",
    )


def _work_of_nodes(events: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """(operations, bytes) by node."""
    return {name: work_of(args) for name, args in node_events(events)}


def work_of(args: dict[str, Any]) -> tuple[float, float]:
    """(operations, bytes) of one node, by what ONNX Runtime's trace says of it.

    Weights that the engine packed beforehand are missing there; a product's follow from its shapes.
    """
    shapes = [shape for each in args["input_type_shape"] for shape in each.values()]
    outputs = [shape for each in args["output_type_shape"] for shape in each.values()]
    n_bytes = sum(float(args[f"{what}_size"]) for what in ("activation", "parameter", "output"))
    operator, n_out = args["op_name"], math.prod(outputs[0]) if outputs else 0
    flops = 0.0
    if "Conv" in operator and len(shapes) > 1:
        flops = 2.0 * n_out * math.prod(shapes[1][1:])
    elif operator.endswith(("MatMul", "Gemm")) and shapes and shapes[0]:
        inner = shapes[0][-1]
        flops = 2.0 * n_out * inner
        if len(shapes) < 2 or len(shapes[1]) < 2:
            n_bytes += _FLOAT_BYTES * inner * outputs[0][-1]
    return flops, n_bytes
