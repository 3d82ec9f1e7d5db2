"""Where a run stands, and how fast it goes."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `accuracy` and `loss` are of this epoch's training clips so far."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    accuracy: float
    learning_rate: float
    clips_per_s: float
    left_s: float
    monitor_accuracy: float | None


class Clock:
    """Speed since this process started, and when to save next."""

    def __init__(self, step: int) -> None:
        self._first, self._start = step, time.monotonic()
        self._saved = self._start

    def steps_per_s(self, step: int) -> float:
        return max(step - self._first, 1) / max(time.monotonic() - self._start, 1e-9)

    def should_save(self, every_s: float) -> bool:
        if time.monotonic() - self._saved < every_s:
            return False
        self._saved = time.monotonic()
        return True
