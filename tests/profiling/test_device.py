from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

from gmme_edge.device import boards
from gmme_edge.device import facts as device

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) CPU @ 2.80GHz
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx_vnni_int8

processor\t: 1
model name\t: Intel(R) Xeon(R) CPU @ 2.80GHz
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx_vnni_int8
"""
ARM = """processor\t: 0
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp
CPU implementer\t: 0x41

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_x86() -> None:
    assert device.parse_cpu_model(X86) == "Intel(R) Xeon(R) CPU @ 2.80GHz"
    assert device.parse_isa(X86) == ["avx2", "avx512f", "avx512_vnni"]
    assert device.count_physical_cores(X86) == 1


def test_arm() -> None:
    assert device.parse_cpu_model(ARM) == "Raspberry Pi 5 Model B Rev 1.0"
    assert device.parse_isa(ARM) == ["asimd", "asimdhp", "asimddp"]
    assert device.count_physical_cores(ARM) == 0


def test_memory_and_system() -> None:
    assert device.parse_memory("MemTotal:        7990000 kB\nMemFree: 1 kB\n") == 7_990_000 * 1024
    assert device.parse_os_name('NAME="x"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n') == (
        "Ubuntu 22.04.5 LTS"
    )


def test_gpus() -> None:
    text = "NVIDIA H200, 570.86.15\nOrin (nvgpu), [N/A]\n"
    assert device.parse_gpus(text) == [
        {"name": "NVIDIA H200", "driver": "570.86.15"},
        {"name": "Orin (nvgpu)"},
    ]


def test_jetson() -> None:
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    assert boards.parse_l4t(release) == "36.4.3"
    assert boards.parse_power_mode("NV Power Mode: MAXN_SUPER\n2\n") == "MAXN_SUPER"


@pytest.mark.parametrize("text", ["", "garbage", "model name\nflags :\nMemTotal: x kB", "\0\xff"])
def test_parsers_find_nothing_in_garbage(text: str) -> None:
    for parse in (
        device.parse_cpu_model, device.parse_isa, device.count_physical_cores,
        device.parse_memory, device.parse_os_name, device.parse_gpus,
        boards.parse_l4t, boards.parse_power_mode,
    ):  # fmt: skip
        assert not parse(text)


def test_this_machine() -> None:
    facts = device.describe_device()
    assert facts["arch"] == platform.machine()
    assert facts["logical_cores"] == os.cpu_count()
    assert "numpy" in facts["libraries"]
    assert json.loads(json.dumps(facts)) == facts


def test_it_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(os, "getloadavg", refuse)
    facts = device.describe_device()
    assert facts["python"] == platform.python_version()
    assert not {"memory_bytes", "gpus", "jetson", "load_average"} & set(facts)


def test_versions_come_without_an_import() -> None:
    versions = device.installed_versions(("numpy", "no-such-distribution"))
    assert list(versions) == ["numpy"]
