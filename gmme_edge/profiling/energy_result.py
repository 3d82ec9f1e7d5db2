"""What a result holds of energy: per row what a clip takes, and the traces that it follows from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmme_edge.fields import Count, NotNegative, Number, Positive, Text
from gmme_edge.statistics import Interval, t_interval


@dataclass(frozen=True)
class Energy:
    """What one clip takes, in millijoules, one value per window.

    Attributes:
        net_mj: without what the machine takes while it idles; noise can make it negative.
        gross_mj: with it.
        idle_w, busy_w: mean power of the windows.
        calls: in all windows together.
    """

    meter: Text
    scope: Text
    net_mj: tuple[Number, ...]
    gross_mj: tuple[Number, ...]
    idle_w: Number
    busy_w: Number
    calls: Count

    @property
    def mean_mj(self) -> float:
        return float(np.mean(self.net_mj))

    @property
    def interval_mj(self) -> Interval | None:
        """Student's 95 % interval of the mean over the windows; None for a single one."""
        return t_interval(self.net_mj)


@dataclass(frozen=True)
class PowerWindow:
    """A stretch of a trace; `row` is the result's row that ran, null where nothing did."""

    row: int | None
    start_s: NotNegative
    end_s: NotNegative
    calls: int = 0


@dataclass(frozen=True)
class PowerTrace:
    """What a meter told while rows ran in turn; `watts` are means between its updates."""

    meter: Text
    scope: Text
    update_step_s: Positive
    times_s: tuple[Number, ...]
    watts: tuple[Number, ...]
    windows: tuple[PowerWindow, ...]
