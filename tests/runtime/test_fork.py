"""A forked process: a clear error instead of a call, or an end, that waits for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import make_bundle

OPEN = """
import os, sys, warnings
warnings.filterwarnings("ignore", message=".*fork.*")
import numpy as np
import gmme_edge
from gmme_edge.errors import UsageError
classifier = gmme_edge.load(sys.argv[1], threads=2)
sound = np.ones(8192, np.float32)
classifier(sound, 8000)
def attempt():
    try:
        classifier(sound, 8000)
    except UsageError as error:
        return str(error)
    return "ran"
"""
FORK = """
child = os.fork()
if child == 0:
    told = attempt()
    with gmme_edge.load(sys.argv[1], threads=2) as own:
        own(sound, 8000)
    print("child:", told, flush=True)
    classifier.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent:", attempt())
"""
POOL = """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print("child:", pool.apply(attempt))
    pool.close()
    pool.join()
print("parent:", attempt())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("code", [FORK, POOL], ids=["os.fork", "multiprocessing"])
def test_a_forked_worker_is_told_to_open_its_own(tmp_path: Path, code: str) -> None:
    bundle = make_bundle(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", OPEN + code, str(bundle.path)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "child: The session was opened before this process was forked" in done.stdout
    assert "open the bundle in each worker" in done.stdout
    assert done.stdout.rstrip().endswith("parent: ran")


SPAWN = """
import multiprocessing, sys
import numpy as np
import gmme_edge

def begin(path):
    global classifier
    classifier = gmme_edge.load(path, threads=1)

def label(seed):
    sound = np.random.default_rng(seed).uniform(-1, 1, 8192)
    return classifier(sound, 8000)[0].label

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2, begin, sys.argv[1:]) as pool:
        found = pool.map(label, range(8))
        pool.close()
        pool.join()
    begin(sys.argv[1])
    assert found == [label(seed) for seed in range(8)]
    print("alike")
"""


def test_a_spawned_pool_answers_as_one_process_does(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "pool.py").write_text(SPAWN)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "pool.py"), str(bundle.path)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "alike\n"), done.stderr
