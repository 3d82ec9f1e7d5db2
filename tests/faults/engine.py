"""Runs many small cases in child processes with limits, and tells what became of each.

A family is a module with ``prepare(shared)``, which makes the files that its cases start from, and
``make_cases(shared)``, which lists them, always the same. A case ends well where it returns, or
raises an error of the project with a documented exit code. A foreign exception, a crash, more than
`LIMIT_S` or `LIMIT_BYTES` is a failure of that case alone: its worker is replaced.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NamedTuple

LIMIT_S = 10.0
LIMIT_BYTES = 2_000_000_000
WORKERS = 2
DOCUMENTED = (0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130)
FAMILIES = "tests.faults.families."
_PRELOAD = ["torch._dynamo", "onnxruntime", "onnx", "soundfile", "soxr", "gmme_edge.cli.app"]

Wanted = Literal["any", "refused", "success"]


@dataclass(frozen=True)
class Case:
    """What is done in an empty folder, and how it has to end."""

    name: str
    act: Callable[[Path], object]
    want: Wanted = "any"
    limit_s: float = LIMIT_S


class Outcome(NamedTuple):
    name: str
    ended: str  # "success", an error's class, or why it failed
    failed: bool
    detail: str
    seconds: float
    peak_bytes: int


class FailedError(AssertionError):
    """What a case raises where it ended in a way that no user should see."""


def command(*arguments: object) -> int:
    """`gmme-edge` in this process; its exit code, which has to be documented."""
    from gmme_edge.cli.app import app

    try:
        app([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
        if code not in DOCUMENTED:
            raise FailedError(f"exit code {code!r} of {arguments}") from end
        return int(code)
    return 0


def refuses(*arguments: object) -> None:
    """`command`, as an error of the project where its exit code is not 0."""
    from gmme_edge.errors import GmmeEdgeError

    if code := command(*arguments):
        raise GmmeEdgeError(f"exit code {code}")


def run_case(case: Case, folder: Path) -> tuple[str, bool, str]:
    """How a case ended, whether that is a failure, and details of one."""
    from gmme_edge.errors import GmmeEdgeError

    try:
        case.act(folder)
    except GmmeEdgeError as error:
        documented = error.exit_code in DOCUMENTED or type(error) is GmmeEdgeError
        wrong = case.want == "success" or not documented or not error.got
        return type(error).__name__, wrong, str(error) if wrong else ""
    except BaseException as error:
        return f"foreign {type(error).__name__}", True, traceback.format_exc(limit=-6)
    wrong = case.want == "refused"
    return "success", wrong, "accepted what has to be refused" if wrong else ""


def _work(family: str, shared: Path, numbers: Sequence[int], pipe: Connection) -> None:
    log = os.open(shared / f"log-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.umask(0o022)
    sys.path[:] = map(os.path.abspath, sys.path)  # the cases change the folder
    cases = importlib.import_module(FAMILIES + family).make_cases(shared)
    for number in numbers:
        folder = Path(tempfile.mkdtemp(prefix="case-", dir=shared))
        os.chdir(folder)
        pipe.send(("began", number, (cases[number].name, cases[number].limit_s)))
        _forget_peak()
        began = time.monotonic()
        ended = run_case(cases[number], folder)
        pipe.send(("ended", number, (*ended, time.monotonic() - began, _peak_bytes())))
        os.chdir(shared)
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(family: str, shared: Path) -> None:
    importlib.import_module(FAMILIES + family).prepare(shared)


def _names(family: str, shared: Path, pipe: Connection) -> None:
    pipe.send([case.name for case in importlib.import_module(FAMILIES + family).make_cases(shared)])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def slowness() -> float:
    """How much longer everything takes because others use the machine as well.

    The load is a mean of the last minute: campaigns that begin beside this one come on top.
    """
    cores = os.cpu_count() or 1
    campaigns = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1.0, os.getloadavg()[0] / cores, WORKERS * campaigns / cores)


def context() -> multiprocessing.context.ForkServerContext:
    """Children that begin with the libraries loaded and with no thread of ours."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(_PRELOAD)
    return chosen


class Campaign:
    """One family's cases; `outcomes` fills while it runs."""

    def __init__(self, family: str, shared: Path, only: str = "") -> None:
        self.family, self._shared = family, shared
        self._context = context()
        self._child(_prepare, family, shared)
        receive, send = self._context.Pipe(duplex=False)
        names = self._context.Process(target=_names, args=(family, shared, send))
        names.start()
        send.close()
        self.names: list[str] = receive.recv()
        names.join()
        twice = [name for name, n in Counter(self.names).items() if n > 1]
        if twice:
            raise ValueError(f"{family} has two cases of one name: {twice[:3]}")
        self._left = [i for i, name in enumerate(self.names) if only in name]
        self._lock = threading.Lock()
        self.outcomes: list[Outcome] = []
        self.told: Callable[[Outcome], object] = lambda outcome: None

    def _child(self, target: Callable[..., None], *arguments: object) -> None:
        child = self._context.Process(target=target, args=arguments)
        child.start()
        child.join()
        if child.exitcode:
            raise RuntimeError(f"{self.family}: {target.__name__} failed; see its traceback")

    def run(self) -> list[Outcome]:
        threads = [threading.Thread(target=self._watch) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.outcomes

    def _take(self, most: int = 250) -> list[int]:
        with self._lock:
            taken, self._left = self._left[:most], self._left[most:]
            return taken

    def _watch(self) -> None:
        """Feed workers until no case is left; one that fails is replaced."""
        while numbers := self._take():
            while numbers:
                done = self._one_worker(numbers)
                numbers = numbers[done:]

    def _one_worker(self, numbers: list[int]) -> int:
        """How many of `numbers` are done, the last one perhaps by failing."""
        receive, send = self._context.Pipe(duplex=False)
        worker = self._context.Process(
            target=_work, args=(self.family, self._shared, numbers, send)
        )
        worker.start()
        send.close()
        done, began, current, limit_s, reason = 0, time.monotonic(), "", 0.0, ""
        try:
            while not reason:
                if receive.poll(0.05):
                    kind, _, told = receive.recv()
                    began = time.monotonic()
                    if kind == "began":
                        current, limit_s = told
                        continue
                    done += 1
                    self._note(self._judge(current, *told))
                    current = ""
                limit = limit_s if current else 60.0
                if _resident_bytes(worker.pid) > LIMIT_BYTES:
                    reason = "memory"
                elif time.monotonic() - began > limit * slowness():
                    reason = "hang"
        except EOFError:
            worker.join()
            if done == len(numbers):
                return done
            reason = f"crash with {worker.exitcode}"
        worker.kill()
        worker.join()
        self._note(Outcome(current, reason, True, reason, time.monotonic() - began, 0))
        return done + 1

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.failed:
            self.told(outcome)

    @staticmethod
    def _judge(
        name: str, ended: str, failed: bool, detail: str, seconds: float, peak_bytes: int
    ) -> Outcome:
        if peak_bytes > LIMIT_BYTES and not failed:
            ended, failed, detail = "memory", True, f"{peak_bytes / 1e6:.0f} MB"
        return Outcome(name, ended, failed, detail, seconds, peak_bytes)

    def summary(self) -> str:
        """One line: how many cases ended in which way, and the extremes."""
        ways = ", ".join(f"{n} {way}" for way, n in Counter(o.ended for o in self.outcomes).items())
        slowest = max(self.outcomes, key=lambda o: o.seconds)
        largest = max(self.outcomes, key=lambda o: o.peak_bytes)
        return (
            f"{self.family}: {len(self.outcomes)} cases, "
            f"{sum(o.failed for o in self.outcomes)} failed ({ways}); slowest {slowest.seconds:.1f}"
            f" s ({slowest.name}); largest {largest.peak_bytes / 1e6:.0f} MB ({largest.name})"
        )

    def complaints(self) -> str:
        """Each failed case with how to run it alone."""
        return "\n".join(
            f"* {o.name}: {o.ended}\n{o.detail}\n"
            f"  alone: python -m tests.faults {self.family} {o.name!r}"
            for o in self.outcomes
            if o.failed
        )


@contextmanager
def open_campaign(family: str, only: str = "") -> Iterator[Campaign]:
    with tempfile.TemporaryDirectory(prefix=f"faults-{family}-") as shared:
        yield Campaign(family, Path(shared), only)


def main(family: str, only: str = "") -> int:
    """One family by hand; a failure is shown as soon as it is found."""
    with open_campaign(family, only) as campaign:
        campaign.told = lambda o: print(f"{len(campaign.outcomes)} {o.name}: {o.ended}", flush=True)
        campaign.run()
        print(campaign.complaints(), file=sys.stderr)
        print(campaign.summary())
        return int(any(outcome.failed for outcome in campaign.outcomes))
