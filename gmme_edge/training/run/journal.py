"""What a run reports while it goes on: `metrics.jsonl`, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from gmme_edge.errors import require
from gmme_edge.files import write_text
from gmme_edge.inputs import read_file

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
_MOST_BYTES = 1 << 30  # seven million steps
Kind = Literal["step", "epoch"]


class _ScalarWriter(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Journal:
    """Figures of a run in `folder`, one JSON object per line::

        {"step": 40, "kind": "epoch", "elapsed_s": 61.2, "loss": 1.93, "accuracy": 0.41}

    Each line is handed to the system whole, so a kill costs at most the last one. `elapsed_s` is
    the time that the kept steps took: pauses, and steps that a kill undid, are not in it.

    Args:
        tensorboard: also write scalars for TensorBoard; None: where it is installed.

    Raises:
        MissingDependencyError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool | None = None) -> None:
        self.path = folder / METRICS
        if tensorboard:
            require("tensorboard", "write TensorBoard scalars")
        elif tensorboard is None:
            tensorboard = find_spec("tensorboard") is not None
        self.tensorboard = tensorboard
        self._scalars: _ScalarWriter | None = None
        self._before_s, self._start = 0.0, time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return self._before_s + time.monotonic() - self._start

    def rewind(self, step: int) -> None:
        """Forget what came after `step`, and a line that a kill cut off; then append from here."""
        self.close()
        entries = [entry for entry in read_metrics(self.path) if entry["step"] <= step]
        write_text(self.path, "".join(_line(entry) for entry in entries))
        self._before_s = max((entry["elapsed_s"] for entry in entries), default=0.0)
        self._start = time.monotonic()
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard hides the later points of the folder's earlier files.
            self._scalars = SummaryWriter(
                str(self.path.with_name(TENSORBOARD)), purge_step=step + 1
            )

    def log(self, step: int, kind: Kind, values: Mapping[str, float]) -> None:
        """Note `values` after optimizer step number `step`; the journal was rewound before."""
        entry = {"step": step, "kind": kind, "elapsed_s": round(self.elapsed_s, 3), **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))
        if self._scalars:
            for name, value in values.items():
                self._scalars.add_scalar(f"{kind}/{name}", value, step)
            if kind == "epoch":
                self._scalars.flush()

    def close(self) -> None:
        if self._scalars:
            self._scalars.close()
        self._scalars = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file in order; none where there is no file yet."""
    if not path.exists():
        return []
    entries = []
    for line in read_file(path, _MOST_BYTES).decode(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            kept = {"step": int(entry["step"]), "elapsed_s": float(entry["elapsed_s"])}
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            continue  # cut off by a kill, or damaged
        if not math.isfinite(kept["elapsed_s"]):
            continue
        entries.append({**entry, **kept})
    return entries


def _line(entry: Mapping[str, Any]) -> str:
    """JSON knows no NaN or infinity, which a gradient's norm may be under half precision."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in entry.items()
    }
    return json.dumps(finite) + "\n"
