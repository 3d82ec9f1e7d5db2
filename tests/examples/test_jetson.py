"""What a board needs around the runtime: the watchdog, the units, the folder of wheels."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gmme_edge.service import app
from tests.examples.tools import EXAMPLES

JETSON = EXAMPLES / "jetson"
WATCHDOG = JETSON / "watchdog.py"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which a service tells that it lives."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(tmp_path / "notify"))
    channel.settimeout(30)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield channel
    channel.close()


def watched(file: Path, code: str, within: str = "60") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, WATCHDOG, "--fresh", file, "--within", within, "--every", "0.05", "--",
         sys.executable, "-c", code],
    )  # fmt: skip


@pytest.mark.slow
def test_systemd_hears_ready_then_alive(systemd: socket.socket, tmp_path: Path) -> None:
    file = tmp_path / "alive"
    code = f"import pathlib, time; pathlib.Path({str(file)!r}).touch(); time.sleep(60)"
    process = watched(file, code)
    try:
        heard = [systemd.recv(100) for _ in range(3)]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM  # handed on to the command
    assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


@pytest.mark.slow
def test_systemd_hears_nothing_of_a_command_that_hangs(
    systemd: socket.socket, tmp_path: Path
) -> None:
    file = tmp_path / "alive"
    file.touch()
    os.utime(file, (0, 0))
    process = watched(file, "import time; time.sleep(1)", within="1")
    assert process.wait(timeout=60) == 0
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


@pytest.mark.slow
def test_its_exit_code_is_the_commands(tmp_path: Path) -> None:
    assert watched(tmp_path / "none", "raise SystemExit(7)").wait(timeout=60) == 7


def test_a_stale_file_is_no_life(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("watchdog", WATCHDOG)
    assert spec and spec.loader
    watchdog = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(watchdog)
    file = tmp_path / "alive"
    assert not watchdog.is_healthy("", str(file), 60)
    file.touch()
    assert watchdog.is_healthy("", str(file), 60)
    os.utime(file, (time.time() - 61,) * 2)
    assert not watchdog.is_healthy("", str(file), 60)
    assert not watchdog.is_healthy("http://127.0.0.1:9/health", "", 60)


def test_the_unit_asks_the_path_that_the_service_answers() -> None:
    unit = (JETSON / "gmme-edge.service").read_text()
    path = unit.split("--health http://127.0.0.1:8000")[1].split()[0]
    assert f'Route("{path}"' in Path(app.__file__).read_text()


@pytest.mark.parametrize("name", ["gmme-edge", "gmme-edge-listen"])
def test_units_restart_and_keep_to_their_folders(name: str) -> None:
    unit = (JETSON / f"{name}.service").read_text()
    for line in ("Restart=always", "ProtectSystem=strict", "NoNewPrivileges=yes"):
        assert line in unit.splitlines()


def test_scripts_are_of_this_shell() -> None:
    for script in JETSON.glob("*.sh"):
        subprocess.run(["sh", "-n", script], check=True)
