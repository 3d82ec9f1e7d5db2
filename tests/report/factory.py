"""Result files with chosen figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmme_edge.profiling.latency import LatencyRow, LatencySettings
from gmme_edge.report.documents import latency_document


def row(
    model: str = "eat-s-aa", samples_ms: Sequence[float] = (10.0, 11.0, 12.0), **other: object
) -> LatencyRow:
    values: dict[str, Any] = {
        "bundle": model, "d_params": 1000, "t_params": 5_000_000, "gflops": 4.0, "n_classes": 50,
        "clip_s": 5.0, "backend": "ort-cpu", "precision": "fp32", "threads": 1, "batch": 1,
        "size_bytes": 20_000_000, "peak_memory_bytes": 90_000_000,
        "baseline_memory_bytes": 30_000_000,
    }  # fmt: skip
    return LatencyRow(model=model, samples_ms=tuple(samples_ms), **values | other)


def write_latency(path: Path, *rows: LatencyRow, command: str = "") -> Path:
    path.write_text(json.dumps(latency_document(rows, LatencySettings(), command)))
    return path


def accuracy(model: str = "eat-s-aa", value: float = 0.9, **other: object) -> dict[str, Any]:
    return {
        "schema": 1, "kind": "accuracy", "model": model, "d_params": 1000, "t_params": 5_000_000,
        "gflops": 4.0, "dataset": "esc50", "split": "test", "fold": None, "backend": "ort-cpu",
        "precision": "fp32", "accuracy": value,
        "interval": [max(0.0, value - 0.05), min(1.0, value + 0.05)],
        "n": 400, "per_class": {}, "confusion": [], "labels": [], "device": {"cpu": "test"},
        **other,
    }  # fmt: skip


def write_accuracy(
    path: Path, model: str = "eat-s-aa", value: float = 0.9, **other: object
) -> Path:
    path.write_text(json.dumps(accuracy(model, value, **other)))
    return path
