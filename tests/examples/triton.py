"""A real Triton server with its Python backend, from the wheel of nvidia-pytriton."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.tools import ROOT

PLACE = ROOT / ".triton"  # an environment of its own: the wheel wants an older numpy
PYTHON = PLACE / "bin" / "python"


def needs_triton() -> None:
    if not PYTHON.exists():
        why = ".triton has no Triton server (.ci/run installs it)"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


@dataclass(frozen=True)
class Server:
    http: str
    grpc: str
    log: Path

    def call(self, path: str, method: str = "POST") -> bytes:
        request = urllib.request.Request(f"http://{self.http}/v2/{path}", b"", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def serving(repository: Path, scratch: Path, *options: str) -> Iterator[Server]:
    """A server of a repository, once it says that it is ready."""
    http, grpc = _free_ports(2)
    server = Server(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", scratch / "server.log")
    words = [
        *_start(scratch), f"--model-repository={repository}", f"--http-port={http}",
        f"--grpc-port={grpc}", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1",
        "--allow-metrics=false", "--disable-auto-complete-config", *options,
    ]  # fmt: skip
    with server.log.open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT, env=_environment())
        try:
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)


def _site() -> Path:
    return next((PLACE / "lib").glob("python3.*/site-packages")).resolve()


def _start(scratch: Path) -> list[str]:
    """The wheel keeps one backend stub per version of Python; the server looks for just one."""
    wheel = _site() / "pytriton" / "tritonserver"
    version = _site().parent.name.removeprefix("python")
    backend = scratch / "backends" / "python"
    if not backend.exists():
        shutil.copytree(wheel / "backends" / "python", backend)
        stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy2(stub, backend)
    return [str(wheel / "bin" / "tritonserver"), f"--backend-directory={backend.parent}"]


def _environment() -> dict[str, str]:
    libraries = [str(_site() / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    path = f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
    return {**kept, "PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    try:
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]
    finally:
        for each in taken:
            each.close()


def _wait(server: Server, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            server.call("health/ready", "GET")
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(server.log.read_text(errors="replace")[-3000:])
