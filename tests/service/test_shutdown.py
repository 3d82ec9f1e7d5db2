"""The end: what runs is answered, streams are told, and the exit code is 0."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gmme_edge.cli.app import app
from tests.bundles import make_bundle
from tests.service.running import running

SOUND = (np.random.default_rng(0).uniform(-0.5, 0.5, 20_000) * 32_767).astype(np.int16).tobytes()


def test_a_request_in_progress_is_answered_before_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.session.free.clear()
        found: list[int] = []
        asking = threading.Thread(
            target=lambda: found.append(service.classify(SOUND, "?rate_hz=8000").status_code)
        )
        asking.start()
        assert service.session.entered.wait(20)
        service.server.should_exit = True
        while not service.listener.stopping.is_set():
            assert asking.is_alive()
        service.session.free.set()
        asking.join(20)
        assert found == [200]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{service.url}/health", trust_env=False)


def test_a_stream_gets_its_open_events_before_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        address = f"{service.stream_url}?rate_hz=8000&on=0.2&hop_ms=500&top=1&gate=false"
        with connect(address, proxy=None) as stream:
            stream.send(SOUND)
            kinds = [json.loads(stream.recv())["kind"] for _ in range(2)]
            assert kinds == ["stream", "window"]
            service.server.should_exit = True
            told = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    told.append(json.loads(stream.recv(timeout=20)))
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert [one["kind"] for one in told][-1] == "end"
        assert any(one["kind"] == "event" and one["end_s"] == 2.5 for one in told)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_command_with_success(tmp_path: Path, number: signal.Signals) -> None:
    make_bundle(tmp_path)
    command = [sys.executable, "-m", "gmme_edge.cli.app", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(
        [*command, "--threads", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        try:
            answer = httpx.post(
                f"{address}/v1/classify?rate_hz=8000", content=SOUND, trust_env=False
            )
            assert answer.status_code == 200
        finally:
            process.send_signal(number)
            code = process.wait(60)
        assert (code, process.stderr.read()) == (0, "")


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    return done.exit_code, done.stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    make_bundle(tmp_path / "other")
    with running(tmp_path / "bundle") as service:
        code, told = run(tmp_path / "other", "--port", service.port)
    assert code == 7 and "--port 0 takes a free one" in told


@pytest.mark.parametrize("content", ["", "short", "with spaces inside"])
def test_a_file_that_holds_no_token_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    code, told = run("digits", "--token-file", tmp_path / "token")
    assert code == 3 and "holds no token" in told
