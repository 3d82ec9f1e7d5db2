"""NVML's counter, with a module that imitates pynvml."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gmme_edge.device.energy.nvml import find_nvml
from gmme_edge.installation import install_command
from tests.device import trees

DRIVER = {"proc/driver/nvidia/version": "NVRM version: 550\n"}


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, refusal: str = "") -> None:
        self.refusal, self.mj, self.asked = refusal, 5000, ""

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        self.asked = f"index {index}"
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked = uuid
        return "handle"

    def nvmlDeviceGetName(self, device: str) -> str:  # noqa: N802
        return "NVIDIA H100"

    def nvmlDeviceGetTotalEnergyConsumption(self, device: str) -> int:  # noqa: N802
        if self.refusal:
            raise self.NVMLError(self.refusal)
        return self.mj


@pytest.mark.parametrize(
    ("visible", "asked"), [("", "index 0"), ("3,1", "index 3"), ("GPU-1a2b", "GPU-1a2b")]
)
def test_the_counter_of_the_gpu_that_cuda_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, asked: str
) -> None:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = find_nvml(trees.write(tmp_path, DRIVER))
    meter = found.choose(on_gpu=True)
    assert meter and (meter.name, meter.read()) == ("NVML: NVIDIA H100", 5.0)
    assert fake.asked == asked
    assert found.choose(on_gpu=False) is None


def test_an_orin_says_that_it_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("Not Supported"))  # type: ignore[arg-type]
    found = find_nvml(trees.write(tmp_path, DRIVER))
    assert not found.readable and "Not Supported" in found.unreadable[0].reason


def test_without_the_package_its_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    assert find_nvml(trees.write(tmp_path, DRIVER)).unreadable[0].fix == (install_command("energy"))
    assert not find_nvml(tmp_path / "no driver").unreadable
