"""Real clusters: the same rows, also where a worker is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile

from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.workflows import scanning
from gmme_edge.workflows.archive import clusters, working
from gmme_edge.workflows.settings.scanning import ScanSettings, WorkerSettings
from tests.workflows import fatal
from tests.workflows.test_scanning import MODEL, RULES, noise, rows

ROOT = Path(__file__).parents[2]
NAMES = ("a.wav", "b.wav", "bad.wav", "c.wav", "d.wav", "e.wav", "once.wav")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        soundfile.write(folder / name, noise(3, seed), 8000)
    (folder / "bad.wav").write_text("not audio")
    return folder


@pytest.fixture
def dask() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@pytest.fixture
def ray() -> Iterator[str]:
    pytest.importorskip("ray")
    ports = []
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
            ports.append(each.getsockname()[1])
    folder = tempfile.mkdtemp(prefix="ray")  # a socket's path must be short
    words = (
        "start", "--head", "--block", "--num-cpus=3", f"--port={ports[0]}",
        f"--ray-client-server-port={ports[1]}", "--node-ip-address=127.0.0.1",
        "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}",
        "--object-store-memory=100000000",
    )  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    head = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), *words],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"ray://127.0.0.1:{ports[1]}"
    try:
        if not serves(address, head):
            logs = Path(folder).glob("session_latest/logs/ray_client_server*.err")
            told = "\n".join(log.read_text(errors="replace")[-500:] for log in logs)
            pytest.skip(f"Ray serves no client on this machine: {told}")
        yield address
    finally:
        head.terminate()
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def serves(address: str, head: subprocess.Popen[bytes]) -> bool:
    """Whether a client gets through in time; the head listens before all of it has started."""
    deadline = time.monotonic() + 150
    probe = [sys.executable, "-c", f"import ray; ray.init({address!r})"]
    while head.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not subprocess.run(probe, capture_output=True, check=False, timeout=60).returncode:
                return True
        time.sleep(1)
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the clusters' own
@pytest.mark.parametrize("cluster", ["dask", "ray"])
def test_a_worker_that_is_killed_costs_its_task_only(
    archive: Path, tmp_path: Path, cluster: str,
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    address = request.getfixturevalue(cluster)
    with ThreadPoolExecutor(1) as pool:
        here = ScanSettings(output=tmp_path / "here", embeddings="npy")
        scanning.scan(MODEL, [archive], here, RULES, executor=pool)
    monkeypatch.setattr(working, "hear", fatal.hear_or_die)
    chosen = ScanSettings(output=tmp_path / "there", embeddings="npy")
    workers = WorkerSettings(executor=address)
    found = scanning.scan(MODEL, [archive], chosen, RULES, workers)
    assert (archive / "once.wav.mark").exists(), "no worker was killed"
    assert (found.counts.heard, found.counts.failed, found.counts.left) == (6, 1, 0)
    for name in ("events.csv", "skipped.csv", "embeddings.csv", "embeddings.npy"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert len({row["path"] for row in rows(tmp_path / "there")}) == 6


def test_a_scheme_that_no_cluster_has_is_refused() -> None:
    for address in ("ssh://x:1", "ray://x", "tcp://x:1"):
        with pytest.raises(UsageError, match="--executor"):
            WorkerSettings(executor=address)
    assert clusters.names_a_lost_worker(type("WorkerCrashedError", (Exception,), {})())
    assert not clusters.names_a_lost_worker(ValueError())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_that_is_not_there_is_told() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(PlatformError, match="does not answer"),
        clusters.open_cluster("dask://127.0.0.1:9"),
    ):
        pass
