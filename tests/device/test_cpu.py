"""Threads follow what a container may use: trees of files as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gmme_edge.device.cpu import check_threads, cpu_quota, default_threads
from gmme_edge.errors import UsageError
from gmme_edge.runtime.backends import open_session
from tests.bundles import make_bundle

Tree = dict[str, str]
V2_HALF: Tree = {
    "proc/self/cgroup": "0::/app/worker\n",
    "sys/fs/cgroup/app/worker/cpu.max": "max 100000\n",
    "sys/fs/cgroup/app/cpu.max": "50000 100000\n",
    "sys/fs/cgroup/cpu.max": "200000 100000\n",
}
V2_IN_CONTAINER: Tree = {  # its own group is mounted as the root, whatever its path is outside
    "proc/self/cgroup": "0::/../../docker/7f\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
}
V1: Tree = {
    "proc/self/cgroup": "5:memory:/docker/7f\n4:cpu,cpuacct:/docker/7f\n1:name=systemd:/x\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/7f/cpu.cfs_quota_us": "25000\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/7f/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}


def write(root: Path, tree: Tree) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("tree", "cores"),
    [
        (V2_HALF, 0.5),
        (V2_IN_CONTAINER, 1.5),
        (V1, 0.25),
        ({}, 0.0),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 0.0),
        ({"sys/fs/cgroup/cpu.max": "50000 0\n"}, 0.0),
        ({"sys/fs/cgroup/cpu.max": "half\n"}, 0.0),
        ({"sys/fs/cgroup/cpu.max": ""}, 0.0),
    ],
)
def test_the_smallest_quota_of_the_groups_counts(tmp_path: Path, tree: Tree, cores: float) -> None:
    assert cpu_quota(write(tmp_path, tree)) == cores


@pytest.mark.parametrize(
    ("tree", "affinity", "threads"),
    [
        ({}, 8, 0),  # all of the machine: the engine chooses
        ({}, 3, 3),
        (V2_HALF, 8, 1),
        (V2_IN_CONTAINER, 8, 1),
        ({"sys/fs/cgroup/cpu.max": "400000 100000"}, 8, 4),
        ({"sys/fs/cgroup/cpu.max": "400000 100000"}, 2, 2),
        ({"sys/fs/cgroup/cpu.max": "1600000 100000"}, 8, 0),
    ],
)
def test_threads_are_no_more_than_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree, affinity: int, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    assert default_threads(write(tmp_path, tree)) == threads


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**31])
def test_a_number_of_threads_that_none_can_start_is_refused(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="at most 1024"):
        check_threads(threads)
    with pytest.raises(UsageError, match="at most 1024"):
        open_session(make_bundle(tmp_path), threads=threads)
