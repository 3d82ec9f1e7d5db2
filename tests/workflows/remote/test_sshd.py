"""A run through a real OpenSSH server on loopback, with keys, port and files of its own."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.report.documents import load_result
from tests.workflows.remote.test_job import PACED, check_paced_with_energy, living_board, make

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SSHD and shutil.which("ssh-keygen")), reason="no OpenSSH server"),
]


class Server:
    """An sshd of this user's; `config` is what ssh is to read, with its host key known."""

    def __init__(self, folder: Path, there: Path) -> None:
        self.folder, self.there, self.port = folder, there, _free_port()
        for name in ("host", "user"):
            self._key(name)
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        (folder / "sshd.conf").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nUsePAM no\n"
            f"KbdInteractiveAuthentication no\nStrictModes no\nSetEnv TMPDIR={there}\n"
            f"PermitRootLogin prohibit-password\n"
        )
        assert SSHD
        with contextlib.suppress(OSError):
            Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd wants it
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", folder / "sshd.conf"], stderr=subprocess.DEVNULL
        )
        self.know("host")

    @property
    def config(self) -> Path:
        return self.folder / "ssh.conf"

    def know(self, key: str) -> None:
        """Let ssh expect this host key."""
        words = (self.folder / f"{key}.pub").read_text().split()[:2]
        known = self.folder / "known"
        known.write_text(f"[127.0.0.1]:{self.port} {' '.join(words)}\n")
        self.config.write_text(
            f"Host loopback*\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {self.folder}/user\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {known}\n GlobalKnownHostsFile /dev/null\n"
        )

    def _key(self, name: str) -> None:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        raise AssertionError("sshd did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "sshd").mkdir(mode=0o700)
    (tmp_path / "there").mkdir()
    made = Server(tmp_path / "sshd", tmp_path / "there")
    try:
        made.wait()
        yield made
    finally:
        made.process.terminate()
        made.process.wait(30)


def words_of(server: Server, bundle: Path) -> list[str]:
    where = ["--ssh-config", str(server.config), "--remote-python", sys.executable]
    return ["profile", str(bundle), *where, "--warmup", "1", "--backend", "ort-cpu"]


def test_two_hosts_through_a_real_server(tmp_path: Path, server: Server) -> None:
    words = words_of(server, make(tmp_path / "net"))
    hosts = ("--remote", "loopback-a", "--remote", "loopback-b")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [*words, "--repetitions", "3", *hosts, "-o", str(out), "--json"])
    assert done.exit_code == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [run["host"] for run in runs] == ["loopback-a", "loopback-b"]
    for name in ("loopback-a-net.json", "loopback-b-net.json"):
        assert len(load_result(out / name).rows[0].samples_ms) == 3
    assert list(server.there.iterdir()) == []


def test_paced_calls_and_energy_through_a_real_server(tmp_path: Path, server: Server) -> None:
    words = [
        *words_of(server, make(tmp_path / "net")),
        "--repetitions",
        "3",
        "--remote",
        "loopback",
    ]
    with living_board(tmp_path) as python:
        words[words.index("--remote-python") + 1] = str(python)
        done = CliRunner().invoke(app, [*words, *PACED, "-o", str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.stderr
    check_paced_with_energy(tmp_path / "r.json")
    assert list(server.there.iterdir()) == []


def test_a_host_key_that_is_not_the_known_one_is_refused(tmp_path: Path, server: Server) -> None:
    server.know("user")  # some other key
    words = [*words_of(server, make(tmp_path / "net")), "--remote", "loopback"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 7
    assert "accept its host key" in done.stderr
    server.config.write_text(server.config.read_text().replace("/known", "/absent"))
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 7 and "Host key verification failed" in done.stderr
    assert not (server.folder / "absent").exists()
    assert list(server.there.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_lost_connection_leave_nothing(
    tmp_path: Path, server: Server, how: signal.Signals
) -> None:
    words = [*words_of(server, make(tmp_path / "net")), "--remote", "loopback"]
    words += ["--repetitions", "1000000"]
    client = subprocess.Popen(
        [sys.executable, "-c", "from gmme_edge.cli.app import main; main()", *words],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert client.stderr
    for line in client.stderr:
        if "timing" in line:
            break
    assert len(list(server.there.iterdir())) == 1
    os.kill(client.pid, how)
    client.wait(120)
    client.stderr.close()
    deadline = time.monotonic() + 60
    while list(server.there.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(server.there.iterdir()) == []
