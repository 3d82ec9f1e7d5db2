"""Figures as short texts, shared by the tables of the terminal and of the Markdown report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.entries import Entry
from gmme_edge.runtime.backends import BACKENDS, COPIED
from gmme_edge.statistics import Interval

NONE = "–"

# A cell is what was measured, and below it what qualifies that: a ratio, an interval.
Cell = tuple[str, str]

SIZE_HEADER: tuple[Cell, ...] = (
    ("model", "precision"), ("#D", "× base"), ("#T", "× base"), ("GFLOPs", "× base"),
    ("size", "× base"),
)  # fmt: skip
SPEED_HEADER: tuple[Cell, ...] = (
    ("model", "precision"), ("median ms", "[p90]"), ("× base", "[95 %]"), ("× base", "fp32"),
    ("accuracy %", "[95 %]"), ("points", "vs base"),
)  # fmt: skip
COST_HEADER: tuple[Cell, ...] = (
    ("model", "precision"), ("clips/s", "× real time"), ("peak memory", "× base"),
    ("mJ per clip", "[95 %]"), ("energy", "× base"), ("latency", "than base"),
)  # fmt: skip
LATENCY_HEADER: tuple[Cell, ...] = (
    ("model", "precision, size"), ("median ms", "[95 %]"), ("p90 ms", "p99 ms"),
    ("clips/s", "× real time"), ("peak memory", "engine's part"),
)  # fmt: skip
VERDICT_HEADER: tuple[Cell, ...] = (
    ("precision", "size"), ("accuracy %", "[95 %]"), ("points", "[95 %]"), ("flips", "to fp32"),
    ("median ms", "p90 ms"), ("× fp32", "[95 %]"),
)  # fmt: skip


def size_cells(entry: Entry) -> list[Cell]:
    """One row under `SIZE_HEADER`."""
    ratio, row = entry.ratio, entry.latency
    return [
        (entry.name, entry.precision),
        (format_count(entry.d_params), format_ratio(ratio.d_params)),
        (format_count(entry.t_params), format_ratio(ratio.t_params)),
        (f"{entry.gflops:.3g}", format_ratio(ratio.gflops)),
        (format_bytes(row.size_bytes) if row else NONE, format_ratio(ratio.size)),
    ]


def speed_cells(entry: Entry) -> list[Cell]:
    """One row under `SPEED_HEADER`."""
    ratio, row, accuracy = entry.ratio, entry.latency, entry.accuracy
    points = NONE if ratio.accuracy_points is None else f"{ratio.accuracy_points:+.2f}"
    return [
        (entry.name, entry.precision),
        (format_ms(row.median_ms), f"[{format_ms(row.p90_ms)}]") if row else (NONE, ""),
        ("base", "")
        if entry.is_base and ratio.latency == 1
        else (format_ratio(ratio.latency), format_interval(ratio.latency_interval)),
        (format_ratio(ratio.latency_to_fp32), ""),
        (
            f"{100 * accuracy.value:.2f}",
            f"[{100 * accuracy.interval[0]:.1f}, {100 * accuracy.interval[1]:.1f}]",
        )
        if accuracy
        else (NONE, ""),
        (points, format_points(ratio.accuracy_points_interval)),
    ]


def cost_cells(entry: Entry) -> list[Cell]:
    """One row under `COST_HEADER`, of an entry with a latency."""
    ratio, row, energy = entry.ratio, entry.latency, entry.energy
    assert row is not None
    return [
        (entry.name, entry.precision),
        (format_rate(row.throughput_clips_per_s), f"×{format_rate(row.real_time_factor)}"),
        (format_bytes(row.peak_memory_bytes), format_ratio(ratio.memory)),
        (format_mj(energy.mean_mj), format_mj_interval(energy.interval_mj))
        if energy
        else (NONE, ""),
        (format_ratio(ratio.energy), ""),
        (ratio.latency_rank or ("base" if entry.is_base else NONE), ""),
    ]


def latency_cells(row: LatencyRow, name: str) -> list[Cell]:
    """One row under `LATENCY_HEADER`; `name` is the model's, or the bundle's where they clash."""
    low, high = row.median_interval_ms
    added_bytes = max(0, row.peak_memory_bytes - row.baseline_memory_bytes)
    return [
        (name, f"{row.precision}, {format_bytes(row.size_bytes)}"),
        (format_ms(row.median_ms), f"[{format_ms(low)}, {format_ms(high)}]"),
        (format_ms(row.p90_ms), format_ms(row.p99_ms)),
        (format_rate(row.throughput_clips_per_s), f"×{format_rate(row.real_time_factor)}"),
        (format_bytes(row.peak_memory_bytes), format_bytes(added_bytes)),
    ]


def verdict_cells(tried: Mapping[str, Any]) -> list[Cell]:
    """One row under `VERDICT_HEADER`, from an entry of a verdict's ``tried``."""
    low, high = tried["interval"]
    less, more = tried["difference_interval_points"]
    return [
        (tried["precision"], format_bytes(tried["size_bytes"])),
        (f"{100 * tried['accuracy']:.2f}", f"[{100 * low:.1f}, {100 * high:.1f}]"),
        (f"{tried['difference_points']:+.2f}", f"[{less:+.1f}, {more:+.1f}]"),
        (str(tried["flips"]["total"]), ""),
        (format_ms(tried["median_ms"]), format_ms(tried["p90_ms"])),
        (format_ratio(tried["ratio_to_fp32"]), format_interval(tried["ratio_interval"])),
    ]


def describe_setting(row: LatencyRow) -> str:
    """``ort-cpu, 1 thread, batch 8``."""
    on_cpu = row.backend in BACKENDS and BACKENDS[row.backend].on_cpu
    threads = {None: "engine's threads", 1: "1 thread"}.get(row.threads, f"{row.threads} threads")
    parts = [row.backend, threads if on_cpu else "", f"batch {row.batch}", _call(row)]
    return ", ".join(part for part in parts if part)


def name_row(row: LatencyRow) -> str:
    """What tells a row from the others of its result."""
    threads = "" if row.threads is None else f", threads {row.threads}"
    call = f", {_call(row)}" if _call(row) else ""
    return f"{row.bundle} {row.precision} on {row.backend}{threads}, batch {row.batch}{call}"


def _call(row: LatencyRow) -> str:
    """How the GPU was called, where it is not as usual."""
    return "" if row.gpu_call == COPIED else row.gpu_call


def format_value(value: object) -> str:
    """A device's fact on one line: ``model Jetson Orin, power_mode MAXN``."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(format_value, value))
    return str(value)


def name_device(device: Mapping[str, Any]) -> str:
    """The board, else the processor; with the power mode of a Jetson."""
    jetson = device.get("jetson")
    board = jetson if isinstance(jetson, dict) else {}
    name = str(board.get("model") or device.get("board") or device.get("cpu") or NONE)
    return f"{name}, {board['power_mode']}" if board.get("power_mode") else name


def format_count(value: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return str(value)


def format_bytes(value: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value} B"


def format_ms(value: float) -> str:
    decimals = 3 if value < 1 else 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:.{decimals}f}"


def format_mj(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def format_mj_interval(interval: Interval | None) -> str:
    return "" if interval is None else f"[{format_mj(interval[0])}, {format_mj(interval[1])}]"


def format_rate(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def format_ratio(value: float | None) -> str:
    return NONE if value is None else f"×{value:.{2 if value >= 0.1 else 3}f}"


def format_interval(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"


def format_points(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.1f}, {interval[1]:+.1f}]"
