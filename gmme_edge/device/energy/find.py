"""All meters of a machine."""

from __future__ import annotations

from pathlib import Path

from gmme_edge.device.energy.meter import Meters
from gmme_edge.device.energy.nvml import find_nvml
from gmme_edge.device.energy.rails import find_rails
from gmme_edge.device.energy.rapl import find_rapl
from gmme_edge.device.system import ROOT


def find_meters(root: Path = ROOT) -> Meters:
    """The board's rails, the GPU and the CPU, each where this machine measures it."""
    found = [find(root) for find in (find_rails, find_nvml, find_rapl)]
    return Meters(
        [meter for each in found for meter in each.readable],
        [problem for each in found for problem in each.unreadable],
    )
