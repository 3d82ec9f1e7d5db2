"""Requests a second and their times on loopback: 1, 8 and 64 clients, batching on and off.

    python benchmarks/service.py --bundle digits --seconds 5

The service runs in a process of its own, the clients in this one; both share the machine's cores.
Each client keeps one connection and sends its next request when the last is answered. The
requests are one window of raw PCM. On and off take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

import gmme_edge
from gmme_edge.device.facts import describe_device

CLIENTS = (1, 8, 64)


def start(bundle: str, max_batch: int, threads: int) -> tuple[subprocess.Popen[str], str]:
    """A service and its address."""
    options = ["--port", "0", "--max-rate", "0", "--max-requests", "128"]
    options += ["--max-batch", str(max_batch), "--threads", str(threads)]
    installed = str(Path(sys.executable).with_name("gmme-edge"))
    command = [installed, "serve", bundle, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def load_it(
    address: str, body: bytes, rate_hz: int, clients: int, seconds: float
) -> list[float]:
    """The times of all requests that were answered, in ms."""
    times_ms: list[float] = []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(
        base_url=address, limits=limits, timeout=60, trust_env=False
    ) as client:
        end_s = time.perf_counter() + seconds

        async def ask() -> None:
            while (begun_s := time.perf_counter()) < end_s:
                answer = await client.post(f"/v1/classify?rate_hz={rate_hz}", content=body)
                answer.raise_for_status()
                times_ms.append(1000 * (time.perf_counter() - begun_s))

        await asyncio.gather(*(ask() for _ in range(clients)))
    return times_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="digits")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with gmme_edge.load(given.bundle) as classifier:
        n, rate_hz = classifier.window_samples, classifier.sample_rate_hz
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, n) * 32_767
    body = sound.astype("<i2").tobytes()
    services = {
        "on": start(given.bundle, 8, given.threads),
        "off": start(given.bundle, 1, given.threads),
    }
    found: dict[tuple[int, str], list[float]] = {}
    try:
        for _ in range(given.rounds):
            for clients in CLIENTS:
                for batching, (_, address) in services.items():
                    times = asyncio.run(load_it(address, body, rate_hz, clients, given.seconds))
                    found.setdefault((clients, batching), []).extend(times)
    finally:
        for process, _ in services.values():
            process.terminate()
            process.wait()
    facts = describe_device()
    print(f"{facts.get('cpu')}, {facts.get('usable_cores')} cores, load {os.getloadavg()[0]:.1f}")
    print("| clients | batching | requests/s | median | p99 |\n|---|---|---|---|---|")
    for (clients, batching), times in found.items():
        rate = len(times) / (given.rounds * given.seconds)
        median, p99 = np.percentile(times, [50, 99])
        print(f"| {clients} | {batching} | {rate:.1f} | {median:.0f} ms | {p99:.0f} ms |")


if __name__ == "__main__":
    main()
