"""Result files, schema 1: one measurement each, of latency or of accuracy.

A latency file is written here (`write_latency`), an accuracy file by `gmme-edge evaluate`; both
are validated when they are read. Statistics in a latency file are for other readers: here they
follow again from the raw samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gmme_edge.complexity import count
from gmme_edge.device.facts import describe_device
from gmme_edge.errors import InputError
from gmme_edge.files import read_json
from gmme_edge.profiling.latency import LatencyRow, LatencySettings
from gmme_edge.profiling.statistics import Interval
from gmme_edge.scoring import Score
from gmme_edge.spec import ModelSpec

SCHEMA = 1
_KINDS = ("latency", "accuracy")


@dataclass(frozen=True)
class LatencyResult:
    """A latency file; the rows were measured together and have equally many samples."""

    source: str
    device: dict[str, Any]
    rows: tuple[LatencyRow, ...]
    command: str = ""


@dataclass(frozen=True)
class AccuracyResult:
    """An accuracy file; `accuracy` is 0 to 1, `interval` its 95 % interval, over `n` clips."""

    source: str
    device: dict[str, Any]
    model: str
    d_params: int
    t_params: int
    gflops: float
    dataset: str
    split: str
    fold: int | None
    backend: str
    precision: str
    accuracy: float
    interval: Interval
    n: int
    command: str = ""


Result = LatencyResult | AccuracyResult


def latency_document(
    rows: Sequence[LatencyRow], settings: LatencySettings, command: str = ""
) -> dict[str, Any]:
    """What a latency file holds, as JSON values; `command` tells how to measure it again."""
    return {
        "schema": SCHEMA,
        "kind": "latency",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "device": describe_device(),
        "settings": asdict(settings),
        "rows": [row.to_dict() for row in rows],
    }


def accuracy_document(
    spec: ModelSpec, score: Score, where: Mapping[str, Any], backend: str, precision: str
) -> dict[str, Any]:
    """What an accuracy file holds; `where` names dataset, split and fold."""
    complexity = count(spec)
    return {
        "schema": SCHEMA,
        "kind": "accuracy",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": spec.name,
        "d_params": complexity.d_params,
        "t_params": complexity.t_params,
        "gflops": complexity.gflops,
        **where,
        "backend": backend,
        "precision": precision,
        **score.to_dict(),
        "device": describe_device(),
    }


def load_result(path: Path) -> Result:
    """Read and validate a result file of either kind.

    Raises:
        InputError: absent, no JSON, another schema or kind, or a field that is off.
    """
    values = read_json(path, "result of `gmme-edge profile` or `gmme-edge evaluate`", SCHEMA)
    kind = values.get("kind")
    if kind not in _KINDS:
        raise InputError(f"{path} has the kind {kind!r}.", f"one of {', '.join(_KINDS)}.")
    try:
        return _latency(path, values) if kind == "latency" else _accuracy(path, values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path} is a damaged {kind} result: {what}.",
            "a file as `gmme-edge profile` or `gmme-edge evaluate` writes it.",
            "measure again.",
        ) from error


def _latency(path: Path, values: Mapping[str, Any]) -> LatencyResult:
    rows = tuple(_row(row) for row in _list(values, "rows"))
    if not rows or len({len(row.samples_ms) for row in rows}) != 1:
        raise ValueError("it has no rows, or rows with unequal numbers of samples")
    return LatencyResult(str(path), _dict(values, "device"), rows, str(values.get("command", "")))


def _row(values: object) -> LatencyRow:
    if not isinstance(values, dict):
        raise TypeError(f"a row is {values!r}")
    samples = [_positive({"samples_ms": s}, "samples_ms") for s in _list(values, "samples_ms")]
    if not samples:
        raise ValueError("samples_ms is empty")
    return LatencyRow(
        model=_text(values, "model"),
        bundle=_text(values, "bundle"),
        d_params=_count(values, "d_params"),
        t_params=_count(values, "t_params"),
        gflops=_positive(values, "gflops"),
        n_classes=_count(values, "n_classes"),
        clip_s=_positive(values, "clip_s"),
        backend=_text(values, "backend"),
        precision=_text(values, "precision"),
        threads=None if values["threads"] is None else _count(values, "threads"),
        batch=_count(values, "batch"),
        size_bytes=_count(values, "size_bytes"),
        peak_memory_bytes=_count(values, "peak_memory_bytes"),
        baseline_memory_bytes=_count(values, "baseline_memory_bytes"),
        samples_ms=tuple(samples),
    )


def _accuracy(path: Path, values: Mapping[str, Any]) -> AccuracyResult:
    low, high = (_number({"interval": v}, "interval", 0, 1) for v in _list(values, "interval"))
    return AccuracyResult(
        source=str(path),
        device=_dict(values, "device"),
        model=_text(values, "model"),
        d_params=_count(values, "d_params"),
        t_params=_count(values, "t_params"),
        gflops=_positive(values, "gflops"),
        dataset=_text(values, "dataset"),
        split=_text(values, "split"),
        fold=None if values["fold"] is None else _count(values, "fold", 0),
        backend=_text(values, "backend"),
        precision=_text(values, "precision"),
        accuracy=_number(values, "accuracy", 0, 1),
        interval=(low, high),
        n=_count(values, "n"),
        command=str(values.get("command", "")),
    )


def _number(values: Mapping[str, Any], name: str, low: float = 0, high: float = math.inf) -> float:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, no number")
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, not from {low:g} to {high:g}")
    return float(value)


def _positive(values: Mapping[str, Any], name: str) -> float:
    value = _number(values, name)
    if value == 0:
        raise ValueError(f"{name} is 0")
    return value


def _count(values: Mapping[str, Any], name: str, low: int = 1) -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise TypeError(f"{name} is {value!r}, no whole number of at least {low}")
    return value


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}, no text")
    return value


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    value = values[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is {value!r}, no list")
    return value


def _dict(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = values[name]
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {value!r}, no object")
    return value
