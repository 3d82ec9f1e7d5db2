"""Does the method tell equal from different, and quiet from noisy? Measured, run by run.

python benchmarks/method_validation.py [--runs 20] [--repetitions 200] [--output RESULT.json]

Three questions, each asked in every run through the functions behind `profile` and `compare`:

- Two copies of one bundle take turns: is their rank "equal"?
- One copy has 5 % added to each of its calls, as a busy wait: is its rank "slower"?
- Another process keeps another core busy meanwhile: does the result say that it is noisy?

The first two need an otherwise idle machine. Where the result says that it was not, nothing is
ranked; the counts "by the interval alone" tell what the ranks would have been. Exit code 1: a count
is below what is asked for: 19 of 20 equal, 18 of 20 found, all loads noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.device.facts import describe_device
from gmme_edge.files import write_json
from gmme_edge.pretrained import resolve
from gmme_edge.profiling import opened
from gmme_edge.report.ranking import rank_ratio
from gmme_edge.runtime.session import Session
from gmme_edge.workflows.comparing import compare
from gmme_edge.workflows.profiling import profile
from gmme_edge.workflows.settings.comparing import CompareSettings
from gmme_edge.workflows.settings.profiling import ProfileSettings

FIRST, COPY, SLOWER = "first", "copy", "slower"
LEAST_EQUAL, LEAST_FOUND = 0.95, 0.90


class SlowedSession:
    """A session whose every call takes a share longer, as a busy core would make it."""

    def __init__(self, session: Session, share: float) -> None:
        self._session, self._share = session, share

    def run(self, waveform: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        start_ns = time.perf_counter_ns()
        outputs = self._session.run(waveform)
        end_ns = start_ns + (1 + self._share) * (time.perf_counter_ns() - start_ns)
        while time.perf_counter_ns() < end_ns:
            pass
        return outputs

    def close(self) -> None:
        self._session.close()


@contextlib.contextmanager
def slowed(share: float) -> Iterator[None]:
    """Within it the bundle `SLOWER` is slower by `share`."""
    real = opened.open_session

    def open_session(bundle: Bundle, *settings: Any) -> Any:  # noqa: ANN401
        session = real(bundle, *settings)
        return SlowedSession(session, share) if bundle.path.name == SLOWER else session

    with mock.patch.object(opened, "open_session", open_session):
        yield


@contextlib.contextmanager
def loaded(core: int) -> Iterator[None]:
    """Within it another process keeps `core` busy."""
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def main() -> int:
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [cores[0]])
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, slowed(options.slow_down):
        bundles = {name: Path(folder) / name for name in (FIRST, COPY, SLOWER)}
        for path in bundles.values():
            shutil.copytree(resolve(options.model), path)
        for index in range(options.runs):
            for question, other in (("equal", COPY), ("slower", SLOWER)):
                pair = (bundles[FIRST], bundles[other])
                runs.append(_measure(question, pair, options.repetitions, index))
            if len(cores) > 1:
                with loaded(cores[1]):
                    pair = (bundles[FIRST], bundles[COPY])
                    runs.append(_measure("noisy", pair, options.repetitions, index))
    summary = _summarise(runs, options.runs)
    if options.output:
        content = {"device": describe_device(), "settings": vars(options) | {"output": None},
                   "summary": summary, "runs": runs}  # fmt: skip
        write_json(options.output, content)
    return 0 if summary["passed"] else 1


def _measure(question: str, pair: tuple[Path, Path], repetitions: int, seed: int) -> dict[str, Any]:
    """One profile of two bundles, and what a comparison makes of it."""
    settings = ProfileSettings(precision="fp32", repetitions=repetitions, seed=seed)
    result = profile(pair, settings)
    comparison = compare([result], CompareSettings(baseline=pair[0].name))
    ratio = next(e.ratio for e in comparison.entries if e.bundle == pair[1].name)
    told = {
        "question": question,
        "rank": ratio.latency_rank,
        "by_interval": rank_ratio(ratio.latency_interval),
        "ratio": ratio.latency,
        "interval": ratio.latency_interval,
        "noise": result.noise["reasons"],
    }
    low, high = ratio.latency_interval or (0.0, 0.0)
    print(
        f"{question:7} {told['rank']:10} {told['by_interval']:10} {ratio.latency:.4f} "
        f"[{low:.4f}, {high:.4f}] {'; '.join(told['noise'])}",
        flush=True,
    )
    return told


def _summarise(runs: list[dict[str, Any]], n: int) -> dict[str, Any]:
    def number(question: str, field: str, value: object) -> int:
        return sum(run["question"] == question and run[field] == value for run in runs)

    equal, found = number("equal", "rank", "equal"), number("slower", "rank", "slower")
    noticed = sum(run["question"] == "noisy" and bool(run["noise"]) for run in runs)
    loads = sum(run["question"] == "noisy" for run in runs)
    summary = {
        "equal": equal,
        "equal_by_interval": number("equal", "by_interval", "equal"),
        "found": found,
        "found_by_interval": number("slower", "by_interval", "slower"),
        "noticed": noticed,
        "loads": loads,
        "runs": n,
        "passed": equal >= LEAST_EQUAL * n and found >= LEAST_FOUND * n and noticed == loads,
    }
    print(
        f"\nequal: {equal} of {n} (by the interval alone {summary['equal_by_interval']})\n"
        f"slow-down found: {found} of {n} (by the interval alone {summary['found_by_interval']})\n"
        f"load noticed: {noticed} of {loads}"
    )
    return summary


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="digits", help="a bundle, or a shipped model's name")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--slow-down", type=float, default=0.05)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
