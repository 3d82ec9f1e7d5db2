"""RAPL: the energy counters of Intel's and AMD's processors, as Linux's powercap shows them.

Since 2020 only root may read them (CVE-2020-8694: they betray what a processor computes).
"""

from __future__ import annotations

import re
from pathlib import Path

from gmme_edge.device.energy.meter import CPU, Meters, Unreadable
from gmme_edge.device.system import ROOT, read, read_number

_ZONES = "sys/class/powercap"
_FIX = (
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next start); for good: "
    'echo \'ACTION=="add", SUBSYSTEM=="powercap", KERNEL=="intel-rapl:*", '
    'RUN+="/bin/chmod a+r /sys%p/energy_uj"\' | sudo tee /etc/udev/rules.d/60-gmme-edge-rapl.rules'
    "; sudo udevadm control --reload; sudo udevadm trigger -c add -s powercap. Every user can then "
    "read them, which is a known side channel"
)


class Zone:
    """One counter in microjoules, which begins again at 0 after `limit_uj`."""

    def __init__(self, folder: Path) -> None:
        self.name = read(folder / "name") or folder.name
        self._file = folder / "energy_uj"
        self._limit_uj = read_number(folder / "max_energy_range_uj") or 0
        self._last_uj, self._total_uj = self._counter(), 0

    def joules(self) -> float:
        """Since this object was made; it must be called once before the counter comes round."""
        now_uj = self._counter()
        step_uj = now_uj - self._last_uj
        if step_uj < 0:
            if not self._limit_uj:
                raise OSError(f"{self._file} went back from {self._last_uj} to {now_uj}")
            step_uj += self._limit_uj
        self._last_uj = now_uj
        self._total_uj += step_uj
        return self._total_uj / 1e6

    def _counter(self) -> int:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except ValueError as error:
            raise OSError(f"{self._file} holds no number") from error


class RaplMeter:
    """All packages of the machine, and their memory where it is counted."""

    scope, counts_energy = CPU, True

    def __init__(self, zones: list[Zone]) -> None:
        self._zones = zones
        self.name = "RAPL: " + " + ".join(zone.name for zone in zones)

    def read(self) -> float:
        return sum(zone.joules() for zone in self._zones)


def find_rapl(root: Path = ROOT) -> Meters:
    """One meter, if the machine shows its packages' counters and they can be read."""
    folders = _package_folders(root)
    if not folders:
        return Meters()
    try:
        zones = [Zone(folder) for folder in folders]
    except PermissionError:
        return Meters([], [Unreadable("RAPL", "only root may read its counters", _FIX)])
    except OSError as error:
        return Meters([], [Unreadable("RAPL", str(error), "see dmesg | grep -i rapl")])
    return Meters([RaplMeter(zones)])


def _package_folders(root: Path) -> list[Path]:
    """``intel-rapl:0`` is a package and ``intel-rapl:0:1`` a part of it; memory is counted apart.

    ``intel-rapl-mmio`` shows the same package again, and psys is not there on most machines.
    """
    found = []
    for folder in sorted((root / _ZONES).glob("intel-rapl:*")):
        name = read(folder / "name")
        is_part = folder.name.count(":") > 1
        if (re.match(r"package", name) and not is_part) or (name == "dram" and is_part):
            found.append(folder)
    return found
