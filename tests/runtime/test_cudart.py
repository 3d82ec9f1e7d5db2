"""What is found out about a machine's GPU before an engine is touched, on stand-ins for both."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gmme_edge.device import boards
from gmme_edge.device import cuda as cudart
from gmme_edge.errors import MissingDependencyError, PlatformError, UsageError
from gmme_edge.installation import install_command
from gmme_edge.runtime.backends import why_unavailable
from gmme_edge.runtime.engines.session import check_device
from tests.fake_gpu import FakeCuda, FakeLibrary, install_cuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    install_cuda(monkeypatch, {"libcudart.so.12": fake})
    return fake


@pytest.fixture
def library(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


def test_check_device_names_the_gpu(library: FakeLibrary) -> None:
    assert check_device("tensorrt") == cudart.Device("Fake GPU", 89)
    assert why_unavailable("tensorrt") is None
    with pytest.raises(UsageError, match="Unknown engine flavour"):
        check_device("ort-cpu")


def test_tensorrt_rtx_refuses_a_gpu_that_it_does_not_serve(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx = FakeLibrary(cuda, "tensorrt_rtx", "1.7.1")
    rtx.ComputeCapability = type("", (), {"__members__": {"NONE": 0, "SM86": 86, "SM89": 89}})
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx)
    assert check_device("tensorrt-rtx").sm == 89
    cuda.sm = 90
    with pytest.raises(PlatformError, match=r"no target SM90(.|\n)*SM86, SM89"):
        check_device("tensorrt-rtx")
    cuda.sm = 87
    with pytest.raises(PlatformError, match=r"Jetson Orin(.|\n)*build on the Jetson"):
        check_device("tensorrt-rtx")


def test_an_absent_library_names_the_install_command(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("tensorrt"))):
        check_device("tensorrt")


def test_a_runtime_newer_than_the_driver_is_passed_over(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = FakeCuda()
    newer.failing = {"cudaGetDeviceCount": 35}
    install_cuda(monkeypatch, {"libcudart.so.13": newer, "libcudart.so.12": FakeCuda(sm=75)})
    assert check_device("tensorrt").sm == 75


def test_no_gpu_and_no_cuda_are_told_apart(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(devices=0)})
    with pytest.raises(PlatformError, match="finds no usable GPU"):
        check_device("tensorrt")
    install_cuda(monkeypatch, {})
    with pytest.raises(PlatformError, match="No CUDA runtime library"):
        check_device("tensorrt")


@pytest.mark.parametrize(
    ("driver", "l4t", "expected"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\nGCC 12.3.0",
            "",
            ("550.54.14", ""),
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build",
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
            ("540.4.0", "L4T 36.4.3"),
        ),
        ("", "", ("", "")),
    ],
)
def test_driver_and_jetpack_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: str,
    l4t: str,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(cudart, "_DRIVER_FILE", tmp_path / "driver")
    (tmp_path / "etc").mkdir()
    for name, text in (("driver", driver), ("etc/nv_tegra_release", l4t)):
        if text:
            (tmp_path / name).write_text(text)
    assert (cudart.driver_version(), boards.jetpack_version(tmp_path)) == expected
