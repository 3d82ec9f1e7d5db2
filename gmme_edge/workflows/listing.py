"""The models that come with the package, and the presets with their costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.complexity import count
from gmme_edge.pretrained import list_names
from gmme_edge.spec import PRESETS, ModelSpec, Task, preset


def list_shipped(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The shipped models whose recordings have the format of one of the tasks, as JSON values."""
    rows = []
    for bundle in (Bundle.open(name) for name in list_names()):
        spec, accuracy = bundle.manifest.model, bundle.manifest.accuracy
        if task := _task_of(spec, tasks):
            rows.append(
                {
                    "name": bundle.path.name,
                    "model": spec.name,
                    "task": task,
                    "labels": list(bundle.manifest.labels),
                    "t_params": count(spec).t_params,
                    "size_bytes": sum(file.size_bytes for file in bundle.manifest.files),
                    "data_license": bundle.manifest.data_license,
                    "accuracy": accuracy.get(bundle.default_precision),
                }
            )
    return rows


def list_presets(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Every preset for each of the tasks, with its parameters and FLOPs, as JSON values."""
    specs = [(task.name, preset(model, task)) for task in tasks for model in PRESETS]
    return [
        {
            "name": spec.name,
            "task": name,
            "d_params": count(spec).d_params,
            "t_params": count(spec).t_params,
            "gflops": round(count(spec).gflops, 4),
            "tokens": spec.tokens,
        }
        for name, spec in specs
    ]


def _task_of(spec: ModelSpec, tasks: Sequence[Task]) -> str:
    for task in tasks:
        if (task.sample_rate_hz, task.n_samples) == (spec.sample_rate_hz, spec.n_samples):
            return task.name
    return ""
