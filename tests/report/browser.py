"""A real browser for the tests: Chromium, driven over the WebDriver protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, port: int, more: tuple[str, ...] = ()) -> None:
        self._base = f"http://127.0.0.1:{port}"
        arguments = [
            *more,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]
        wanted = {
            "goog:chromeOptions": {"args": [*arguments, *more]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def open(self, path: Path | str, width: int = 1200) -> None:
        """A file, or a page that a server serves."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)
        self._call(
            "POST",
            f"{self._session}/url",
            {"url": path if isinstance(path, str) else path.resolve().as_uri()},
        )

    def run(self, script: str) -> Any:  # noqa: ANN401 - whatever the script returns
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **parameters: object) -> Any:  # noqa: ANN401
        body = {"cmd": command, "params": parameters}
        return self._call("POST", f"{self._session}/goog/cdp/execute", body)

    def press(self, key: str) -> None:
        """One key, as a keyboard gives it to what has the focus: a character, or one of these."""
        known = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "ArrowUp": ("", 38, "")}
        code, number, text = known.get(key, ("", ord(key[0].upper()), key))
        facts = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        for kind, more in (("keyDown", {"text": text} if text else {}), ("keyUp", {})):
            self.devtools("Input.dispatchKeyEvent", type=kind, **facts, **more)

    def complaints(self) -> list[Any]:
        """What the console holds: errors of scripts, blocked requests."""
        return list(self._call("POST", f"{self._session}/se/log", {"type": "browser"}))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        self._call("DELETE", self._session)

    def _call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextmanager
def open_browser(*arguments: str) -> Iterator[Browser]:
    """A browser; without Chromium the test is skipped, but fails where CI promises one."""
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        if os.environ.get("CI"):
            pytest.fail("chromium and chromium-driver are not installed")
        pytest.skip("chromium and chromium-driver are not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        browser = _connect(port, arguments)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=10)


def _connect(port: int, arguments: tuple[str, ...]) -> Browser:
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                break
        except OSError:
            time.sleep(0.1)
    return Browser(port, arguments)
