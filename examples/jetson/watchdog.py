"""Runs a command as a systemd service that is watched: alive is what answers, not what exists.

    python3 watchdog.py --health http://127.0.0.1:8000/health -- gmme-edge serve siren
    python3 watchdog.py --fresh /run/gmme-edge/alive --within 60 -- COMMAND

systemd hears READY once the command is healthy for the first time, and WATCHDOG as long as it is.
When the command hangs, systemd restarts the service; when it ends, this ends with its code.
The standard library alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def notify(text: str) -> None:
    """What systemd listens for; nothing where no systemd started this."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(text.encode(), address)


def is_healthy(url: str, file: str, within_s: float) -> bool:
    """A URL that answers 200 in 5 s, or a file that was touched lately."""
    try:
        if url:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        return time.time() - Path(file).stat().st_mtime < within_s
    except OSError:
        return False


def watch(command: list[str], options: argparse.Namespace) -> int:
    """Run the command to its end; its exit code, 128 and the signal's number where one ended it."""
    kept = {name: v for name, v in os.environ.items() if name != "NOTIFY_SOCKET"}
    process = subprocess.Popen(command, env=kept)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, frame: process.send_signal(got))
    ready = False
    while process.poll() is None:
        if is_healthy(options.health, options.fresh, options.within):
            notify("WATCHDOG=1" if ready else "READY=1")
            ready = True
        try:
            process.wait(options.every)
        except subprocess.TimeoutExpired:
            continue
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--health", default="", help="a URL that answers 200 while all is well")
    parser.add_argument("--fresh", default="", help="a file that is touched while all is well")
    parser.add_argument("--within", type=float, default=60, help="seconds; for --fresh")
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if bool(options.health) == bool(options.fresh):
        parser.error("name one of --health and --fresh.")
    sys.exit(watch(options.command, options))


if __name__ == "__main__":
    main()
