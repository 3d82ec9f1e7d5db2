"""RAPL's counters: which are counted, how they come round, and who may read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmme_edge.device.energy.find import find_meters
from gmme_edge.device.energy.meter import Meter
from gmme_edge.device.energy.rapl import find_rapl
from tests.device import trees

LIMIT = 262_143_328_850


def meter_of(root: Path) -> Meter:
    return find_rapl(root).readable[0]


def test_packages_and_memory_count_and_their_parts_do_not(tmp_path: Path) -> None:
    tree = trees.PC | trees.rapl("intel-rapl-mmio:0", "package-0", 7)
    found = find_meters(trees.write(tmp_path, tree))
    meter = found.choose(on_gpu=False)
    assert meter and meter.name == "RAPL: package-0 + dram" and meter.counts_energy
    assert found.choose(on_gpu=True) is None  # a CPU's counter says nothing of a GPU
    assert meter.read() == 0
    trees.write(tmp_path, trees.rapl("intel-rapl:0", "package-0", 2_500_000))
    trees.write(tmp_path, trees.rapl("intel-rapl:0:0", "core", 9_000_000))
    assert meter.read() == pytest.approx(1.5)
    trees.write(tmp_path, trees.rapl("intel-rapl:0:1", "dram", 700_000))
    assert meter.read() == pytest.approx(2.0)


def test_a_counter_that_comes_round_goes_on(tmp_path: Path) -> None:
    trees.write(tmp_path, trees.rapl("intel-rapl:0", "package-0", LIMIT - 1_000_000))
    meter = meter_of(tmp_path)
    for uj, joules in ((LIMIT - 250_000, 0.75), (500_000, 1.5), (LIMIT - 500_000, None), (0, None)):
        trees.write(tmp_path, trees.rapl("intel-rapl:0", "package-0", uj))
        read = meter.read()
        assert joules is None or read == pytest.approx(joules)
    assert read == pytest.approx((LIMIT + 1_000_000) / 1e6)


def test_a_counter_without_a_limit_that_goes_back_is_an_error(tmp_path: Path) -> None:
    trees.write(tmp_path, trees.rapl("intel-rapl:0", "package-0", 50))
    (tmp_path / "sys/class/powercap/intel-rapl:0/max_energy_range_uj").unlink()
    meter = meter_of(tmp_path)
    trees.write(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "40\n"})
    with pytest.raises(OSError, match="went back"):
        meter.read()


def test_counters_of_root_alone_name_the_lines_that_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(tmp_path, trees.PC)
    read_text = Path.read_text

    def refuse(path: Path, *how: object, **named: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *how, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    found = find_rapl(tmp_path)
    assert not found.readable
    fix = found.unreadable[0].fix
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in fix
    assert 'SUBSYSTEM=="powercap"' in fix and "/etc/udev/rules.d/" in fix


def test_a_counter_without_a_number_or_a_file_is_told(tmp_path: Path) -> None:
    trees.write(tmp_path, trees.rapl("intel-rapl:0", "package-0", 1))
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.write_text("\n")
    assert "holds no number" in find_rapl(tmp_path).unreadable[0].reason
    counter.unlink()
    assert "energy_uj" in find_rapl(tmp_path).unreadable[0].reason
