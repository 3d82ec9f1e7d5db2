"""Power rails of boards: the INA3221 and its relatives, through hwmon or, before JetPack 5, iio.

A rail's power is that of its chip (microwatts), or else voltage times current (mV, mA). Rails that
are not connected are labelled "NC" or switched off; the INA3221's channels 4 to 7 are its shunts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.device.energy.meter import BOARD, Meters, Unreadable
from gmme_edge.device.system import ROOT, read

_CHIPS = ("ina3221", "ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina237", "ina238")
_CHANNELS = (1, 2, 3)
_TOTALS = ("VDD_IN", "POM_5V_IN", "5V_IN", "VIN")
"""Rails that carry all that a module or board takes. AGX Orin's VIN_SYS_5V0 is none."""

_UDEV = (
    'echo \'ACTION=="add", SUBSYSTEM=="hwmon", RUN+="/bin/sh -c \\"chmod a+r /sys%p/*_input\\""\''
    " | sudo tee /etc/udev/rules.d/60-gmme-edge-rails.rules; sudo udevadm control --reload; "
    "sudo udevadm trigger -c add -s hwmon"
)


@dataclass(frozen=True)
class Rail:
    """One channel; `files` hold its power, or voltage and current; their product is in `unit_w`."""

    label: str
    files: tuple[Path, ...]
    unit_w: float

    def read(self) -> float:
        """Watts now; slightly negative where a chip's offset exceeds what an idle rail takes."""
        product = self.unit_w
        for file in self.files:
            try:
                product *= int(file.read_text(encoding="ascii"))
            except ValueError as error:
                raise OSError(f"{file} holds no number") from error
        return product


class RailMeter:
    """The board's total: the rail that carries all, or else the sum of all rails."""

    scope, counts_energy = BOARD, False

    def __init__(self, rails: list[Rail]) -> None:
        totals = [rail for rail in rails if rail.label in _TOTALS]
        totals.sort(key=lambda rail: _TOTALS.index(rail.label))
        self.rails = totals[:1] or rails
        self.name = "rails: " + " + ".join(rail.label for rail in self.rails)

    def read(self) -> float:
        return sum(rail.read() for rail in self.rails)


def find_rails(root: Path = ROOT) -> Meters:
    """One meter of the board, if it has rails and all that count can be read."""
    rails = _hwmon_rails(root) or _iio_rails(root)
    if not rails:
        return Meters()
    meter = RailMeter(rails)
    for rail in meter.rails:
        try:
            rail.read()
        except PermissionError as error:
            reason = f"{error.filename or rail.files[0]} may not be read by this user"
            folder = rail.files[0].parent
            fix = f"sudo chmod a+r {folder}/*_input (until the next start); for good: {_UDEV}"
            return Meters([], [Unreadable(meter.name, reason, fix)])
        except OSError as error:
            return Meters([], [Unreadable(meter.name, str(error), "see dmesg | grep -i ina")])
    return Meters([meter])


def _hwmon_rails(root: Path) -> list[Rail]:
    folders = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    folders = folders or sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*"))
    rails = []
    for folder in folders:
        chip = read(folder / "name")
        if chip in _CHIPS:
            channels = _CHANNELS if chip == "ina3221" else _CHANNELS[:1]
            found = (_hwmon_rail(folder, chip, channel) for channel in channels)
            rails += [rail for rail in found if rail]
    return rails


def _hwmon_rail(folder: Path, chip: str, channel: int) -> Rail | None:
    label = read(folder / f"in{channel}_label")
    if chip == "ina3221" and (not label or label == "NC"):
        return None
    if read(folder / f"in{channel}_enable") == "0":
        return None
    label = label or ("VIN" if chip == "ina238" else chip.upper())
    power = folder / f"power{channel}_input"
    pair = folder / f"in{channel}_input", folder / f"curr{channel}_input"
    if power.exists():
        return Rail(label, (power,), 1e-6)
    return Rail(label, pair, 1e-6) if all(file.exists() for file in pair) else None


def _iio_rails(root: Path) -> list[Rail]:
    """JetPack 4: ``rail_name_0`` and ``in_power0_input`` in milliwatts."""
    rails = []
    for name in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*/rail_name_*")):
        label = read(name)
        power = name.with_name(f"in_power{name.name.rpartition('_')[2]}_input")
        if label and label != "NC" and power.exists():
            rails.append(Rail(label, (power,), 1e-3))
    return rails
