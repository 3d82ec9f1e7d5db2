"""What a result holds of energy: per row what a clip takes, and the traces that it follows from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmme_edge.profiling.windows import ClipEnergy
from gmme_edge.profiling.windows import PowerTrace as PowerTrace
from gmme_edge.profiling.windows import PowerWindow as PowerWindow
from gmme_edge.statistics import Interval, t_interval


@dataclass(frozen=True)
class Energy(ClipEnergy):
    """What one clip takes, in millijoules, one value per window.

    Attributes:
        net_mj: without what the machine takes while it idles; noise can make it negative.
        gross_mj: with it.
        idle_w, busy_w: mean power of the windows.
        calls: in all windows together.
    """

    @property
    def mean_mj(self) -> float:
        return float(np.mean(self.net_mj))

    @property
    def interval_mj(self) -> Interval | None:
        """Student's 95 % interval of the mean over the windows; None for a single one."""
        return t_interval(self.net_mj)
