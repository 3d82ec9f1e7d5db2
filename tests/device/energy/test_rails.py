"""Which rails of real boards are their total, and what is said where they cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmme_edge.device.energy.find import find_meters
from gmme_edge.device.energy.rails import find_rails
from tests.device import trees

HWMON = "sys/class/hwmon"


@pytest.mark.parametrize(
    ("tree", "name", "watts"),
    [
        (trees.XAVIER_NX, "rails: VDD_IN", 4.944 * 0.880),
        (
            trees.AGX_XAVIER,
            "rails: GPU + CPU + SOC + CV + VDDRQ + SYS5V",
            19 * (0.010 + 0.060 + 0.100 + 0.005) + 5 * (0.150 + 0.400),
        ),
        (trees.ORIN_NANO, "rails: VDD_IN", 5.008 * 0.840),
        (trees.ORIN_NX, "rails: VDD_IN", 5.016 * 1.000),
        (
            trees.AGX_ORIN,
            "rails: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO",
            19.8 * (0.160 + 0.040) + 5.032 * (0.800 + 0.120),
        ),
        (trees.THOR, "rails: VIN", 22.88),
        (trees.TX2_JETPACK_4, "rails: VDD_IN", 3.150),
    ],
    ids=["Xavier NX", "AGX Xavier", "Orin Nano", "Orin NX", "AGX Orin", "Thor", "TX2"],
)
def test_the_boards_total(tmp_path: Path, tree: trees.Tree, name: str, watts: float) -> None:
    found = find_meters(trees.write(tmp_path, tree))
    assert not found.unreadable
    for on_gpu in (False, True):
        meter = found.choose(on_gpu)
        assert meter and meter.name == name and meter.scope == "board"
        assert not meter.counts_energy
        assert meter.read() == pytest.approx(watts)


def test_a_board_that_shows_its_chips_on_the_bus_only(tmp_path: Path) -> None:
    moved = {
        name.replace(f"{HWMON}/hwmon1", "sys/bus/i2c/devices/1-0040/hwmon/hwmon1"): text
        for name, text in trees.ORIN_NANO.items()
        if "hwmon9" not in name
    }
    assert find_rails(trees.write(tmp_path, moved)).readable[0].name == "rails: VDD_IN"


def test_channels_that_are_switched_off_or_incomplete_are_passed_over(tmp_path: Path) -> None:
    tree = trees.ina3221(1, ("GPU", 19000, 10), ("CPU", 19000, 60), ("SOC", 19000, 100))
    tree[f"{HWMON}/hwmon1/in1_enable"] = "0\n"
    del tree[f"{HWMON}/hwmon1/curr2_input"]
    assert find_rails(trees.write(tmp_path, tree)).readable[0].name == "rails: SOC"


def test_an_idle_rail_below_its_chips_offset_is_negative(tmp_path: Path) -> None:
    trees.write(tmp_path, trees.ina3221(1, ("VDD_IN", 12000, -33)))
    assert find_rails(tmp_path).readable[0].read() == pytest.approx(-0.396)


def test_boards_without_a_power_chip_have_no_meter(tmp_path: Path) -> None:
    found = find_meters(trees.write(tmp_path, trees.PI_5))
    assert (found.readable, found.unreadable) == ([], [])


def test_a_file_without_a_number_is_told(tmp_path: Path) -> None:
    for text in ("", "NC\n", "1.5\n"):
        tree = trees.ORIN_NANO | {f"{HWMON}/hwmon1/curr1_input": text}
        found = find_rails(trees.write(tmp_path, tree))
        assert not found.readable and "holds no number" in found.unreadable[0].reason


def test_rails_that_may_not_be_read_name_the_line_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(tmp_path, trees.ORIN_NANO)
    read_text = Path.read_text

    def refuse(path: Path, *how: object, **named: object) -> str:
        if path.name == "curr1_input":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *how, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    found = find_rails(tmp_path)
    assert not found.readable
    told = str(found.unreadable[0])
    assert "curr1_input may not be read" in told
    assert f"sudo chmod a+r {tmp_path}/sys/class/hwmon/hwmon1/*_input" in told
    assert "/etc/udev/rules.d/" in told
