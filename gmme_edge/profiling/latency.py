"""Latency of several models side by side, with every raw sample kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, to_builtins

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.manifest import MANIFEST
from gmme_edge.complexity import count
from gmme_edge.errors import UsageError
from gmme_edge.fields import Count, NotNegative, Positive, Sha256, Text
from gmme_edge.files import sha256_of
from gmme_edge.profiling.energy_result import Energy
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.profiling.memory import Memory, measure_memory
from gmme_edge.profiling.opened import open_call
from gmme_edge.profiling.rounds import LatencySettings as LatencySettings
from gmme_edge.profiling.rounds import Progress, Samples
from gmme_edge.profiling.rounds import time_rounds as _time
from gmme_edge.profiling.statistics import percentile_interval
from gmme_edge.runtime.backends import COPIED
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.statistics import Interval


@dataclass(frozen=True)
class Contender:
    """One thing to time: a bundle's precision on a backend; `threads` None: the engine chooses.

    `gpu_call` is one of `backends.GPU_CALLS`.
    """

    bundle: Bundle
    backend: str
    precision: str
    threads: int | None = None
    batch: int = 1
    gpu_call: str = COPIED

    def __post_init__(self) -> None:
        if self.batch < 1 or (self.threads is not None and self.threads < 1):
            raise UsageError(
                f"A batch of {self.batch} on {self.threads} threads.", "at least 1 of each."
            )

    @property
    def weights_sha256(self) -> str:
        """Of the checkpoint that the bundle was exported from; empty where it is not known."""
        return self.bundle.manifest.weights_sha256

    @property
    def bundle_sha256(self) -> str:
        """Of the manifest, and so of every file that it lists."""
        return sha256_of(self.bundle.path / MANIFEST)


@dataclass(frozen=True)
class LatencyStatistics:
    """What follows from the samples of a row, for readers of the file."""

    min_ms: Positive
    median_ms: Positive
    median_interval_ms: Interval
    p90_ms: Positive
    p90_interval_ms: Interval
    p99_ms: Positive
    p99_interval_ms: Interval
    throughput_clips_per_s: Positive
    real_time_factor: Positive


@dataclass(frozen=True)
class Deadlines:
    """Of a paced stream: how often a call was due, and how many were late or left out."""

    hop_ms: Positive
    calls: Count
    misses: Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class LatencyRow:
    """The measurement of one contender; the statistics follow from `samples_ms`.

    Attributes:
        model: the spec's name; `bundle` is the folder's.
        size_bytes: the ONNX file of this precision, with the weights that it reads, if they lie
            in another file (an engine built from it differs).
        clip_s: length of one clip.
        samples_ms: time of each call, all clips of the batch together; sample i of every row of
            one run was taken in the same repetition.
        peak_memory_bytes, baseline_memory_bytes: see `memory.Memory`.
        weights_sha256: of the trained weights, whatever the precision; so is `labels_sha256` of
            the class names; `bundle_sha256` of the manifest, which names every file's hash. All
            are empty in files of before they were recorded.
        energy: where it was measured.
        stream: ``single``, ``offline`` or ``paced``, see `rounds`; `deadlines` of a paced one.
        gpu_call: how a GPU was called, one of `backends.GPU_CALLS`; on a CPU always ``copied``.
        open_ms, first_call_ms: of the process that measures memory: from the engine's import to
            the open session, and the first call; null where that was not recorded.
    """

    model: Text
    bundle: Text
    d_params: Count
    t_params: Count
    gflops: Positive
    n_classes: Count
    clip_s: Positive
    backend: Text
    precision: Text
    threads: Count | None
    batch: Count
    size_bytes: Count
    peak_memory_bytes: Count
    baseline_memory_bytes: Count
    samples_ms: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    weights_sha256: Sha256 = ""
    labels_sha256: Sha256 = ""
    bundle_sha256: Sha256 = ""
    energy: Energy | None = None
    stream: Text = "single"
    deadlines: Deadlines | None = None
    open_ms: NotNegative | None = None
    first_call_ms: NotNegative | None = None
    gpu_call: Text = COPIED

    @property
    def min_ms(self) -> float:
        return float(min(self.samples_ms))

    @property
    def median_ms(self) -> float:
        return float(np.median(self.samples_ms))

    @property
    def p90_ms(self) -> float:
        return float(np.percentile(self.samples_ms, 90))

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.samples_ms, 99))

    @cached_property
    def median_interval_ms(self) -> Interval:
        """The 95 % bootstrap interval of the median."""
        return percentile_interval(self.samples_ms, 50)

    @cached_property
    def p90_interval_ms(self) -> Interval:
        return percentile_interval(self.samples_ms, 90)

    @property
    def throughput_clips_per_s(self) -> float:
        return self.batch * 1000 / self.median_ms

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio handled per second of computing: above 1 keeps up with a microphone."""
        return self.throughput_clips_per_s * self.clip_s

    @property
    def statistics(self) -> LatencyStatistics:
        return LatencyStatistics(
            min_ms=self.min_ms,
            median_ms=self.median_ms,
            median_interval_ms=self.median_interval_ms,
            p90_ms=self.p90_ms,
            p90_interval_ms=self.p90_interval_ms,
            p99_ms=self.p99_ms,
            p99_interval_ms=percentile_interval(self.samples_ms, 99),
            throughput_clips_per_s=self.throughput_clips_per_s,
            real_time_factor=self.real_time_factor,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields and the statistics, as JSON values; the samples come last."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        samples = list(values.pop("samples_ms"))
        values |= {name: to_builtins(values[name]) for name in ("energy", "deadlines")}
        return {**values, **to_builtins(self.statistics), "samples_ms": samples}


def measure(
    contenders: Sequence[Contender],
    settings: LatencySettings,
    on_progress: Progress | None = None,
    rebuild: Rebuild | None = None,
    samples: Samples | None = None,
) -> list[LatencyRow]:
    """Time all contenders, interleaved, and measure each one's memory in a process of its own.

    Every repetition visits all contenders in a new random order, so that a machine that warms up,
    or that is busy for a while, slows all of them alike. A model therefore finds the caches as
    another model left them, as it does between the other work of a device.

    Args:
        on_progress: called with (calls made, calls in all), see `rounds.time_rounds`.
        rebuild: may build engines that a bundle lacks.
        samples: of an earlier run of the same contenders, to go on from; it is filled in place.

    Raises:
        UsageError: no contender, or a precision or backend that there is not.
        GmmeEdgeError: whatever a session or a memory measurement raises; nothing is swallowed.
    """
    if not contenders:
        raise UsageError("There is nothing to measure.", "at least one contender.")
    inputs = [golden_batch(contender.bundle, contender.batch) for contender in contenders]
    with contextlib.ExitStack() as stack:
        calls = [
            stack.enter_context(open_call(contender, clips, rebuild))
            for contender, clips in zip(contenders, inputs, strict=True)
        ]
        memories = [
            measure_memory(t.bundle, t.backend, t.precision, t.threads, t.batch, t.gpu_call)
            for t in contenders
        ]
        taken = _time(calls, inputs, settings, on_progress, samples)
    return [
        _row(contender, memories[index], settings, taken, index)
        for index, contender in enumerate(contenders)
    ]


def _row(
    contender: Contender, memory: Memory, settings: LatencySettings, taken: Samples, index: int
) -> LatencyRow:
    samples_ms, deadlines = taken.ms[index], None
    if settings.hop_s:
        deadlines = Deadlines(1000 * settings.hop_s, len(samples_ms), taken.misses[index])
    spec = contender.bundle.manifest.model
    complexity = count(spec)
    return LatencyRow(
        model=spec.name,
        bundle=contender.bundle.path.resolve().name,
        d_params=complexity.d_params,
        t_params=complexity.t_params,
        gflops=complexity.gflops,
        n_classes=spec.n_classes,
        clip_s=spec.n_samples / spec.sample_rate_hz,
        backend=contender.backend,
        precision=contender.precision,
        threads=contender.threads,
        batch=contender.batch,
        size_bytes=contender.bundle.size_bytes(contender.precision),
        peak_memory_bytes=memory.peak_bytes,
        baseline_memory_bytes=memory.baseline_bytes,
        samples_ms=tuple(samples_ms),
        weights_sha256=contender.weights_sha256,
        labels_sha256=hash_labels(contender.bundle.manifest.labels),
        bundle_sha256=contender.bundle_sha256,
        stream=settings.stream,
        deadlines=deadlines,
        open_ms=memory.open_ms,
        first_call_ms=memory.first_call_ms,
        gpu_call=contender.gpu_call,
    )


def hash_labels(labels: Sequence[str]) -> str:
    """What tells apart two networks with the same weights' shapes and other classes."""
    return hashlib.sha256(json.dumps(list(labels)).encode()).hexdigest()
