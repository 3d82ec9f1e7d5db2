"""The options that make a command fail in CI, each with an exit code of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from gmme_edge.workflows.gates import check_accuracy, check_latency

__all__ = ["MaxLatencyOption", "check_accuracy", "check_latency"]

MaxLatencyOption = Annotated[
    float | None,
    typer.Option(
        "--max-latency-p90-ms", min=0, help="Fail (exit 8) where a 90th percentile is above."
    ),
]
