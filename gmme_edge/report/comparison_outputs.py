"""What `gmme-edge compare` prints under ``--json``; see `outputs`."""

from __future__ import annotations

from typing import Any, TypedDict

from gmme_edge.fields import Count, NotNegative, Number, Positive, Sha256, Share, Text
from gmme_edge.report.entries import Ratio
from gmme_edge.statistics import Interval


class ComparedEntry(TypedDict):
    """One network on one device, backend and precision; what was not measured is null."""

    name: Text
    model: Text
    bundle: str | None
    is_base: bool
    precision: Text
    backend: Text
    threads: Count | None
    batch: Count | None
    gpu_call: str | None
    stream: str | None
    clip_s: Positive | None
    n_classes: Count | None
    d_params: Count
    t_params: Count
    gflops: Positive
    size_bytes: Count | None
    peak_memory_bytes: Count | None
    median_ms: Positive | None
    median_interval_ms: Interval | None
    p90_ms: Positive | None
    p90_interval_ms: Interval | None
    p99_ms: Positive | None
    throughput: Positive | None
    energy_mj: Number | None
    energy_interval_mj: Interval | None
    energy_meter: str | None
    accuracy: Share | None
    accuracy_interval: Interval | None
    accuracy_backend: str | None
    dataset: str | None
    weights_sha256: Sha256
    source: Text
    ratio: Ratio


class ComparedDevice(TypedDict):
    """The machine that a result was measured on."""

    source: str
    device: dict[str, Any]


class Compared(TypedDict):
    """`gmme-edge compare --json`, kind ``comparison``."""

    schema: int
    kind: Text
    baseline: Text
    entries: list[ComparedEntry]
    notes: list[str]
    devices: list[ComparedDevice]


class PaperRow(TypedDict):
    """A figure of the paper as printed, and ours: a count, an accuracy as a share, or null."""

    table: Count
    task: Text
    model: Text
    figure: Text
    printed: Text
    ours: NotNegative | None
    state: Text
    interval: Interval | None
    n: Count | None
    notes: list[str]


class Paper(TypedDict):
    """`gmme-edge compare --paper --json`, kind ``paper``."""

    schema: int
    kind: Text
    paper: Text
    rows: list[PaperRow]
    others: list[str]
