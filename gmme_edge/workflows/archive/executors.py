"""Who does a scan's work, behind the one interface of `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import c_double
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from gmme_edge.workflows.archive.clusters import names_a_lost_worker, open_cluster
from gmme_edge.workflows.archive.telling import share
from gmme_edge.workflows.settings.scanning import WorkerSettings

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


class LocalPool(Executor):
    """Processes of which each has one task at a time, so that a killed one costs only that.

    Its future raises `BrokenProcessPool`; the process is replaced. `submit` waits for a free one.
    """

    def __init__(self, workers: int) -> None:
        # "spawn": a fork would copy the locks of this process's threads as they happen to stand.
        self._context = multiprocessing.get_context("spawn")
        self._ending, self._lifeline = self._context.Pipe(duplex=False)
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        self._lock = threading.Lock()
        self._heard_s: list[c_double] = []  # by each worker, also of those that are gone
        self._all = [self._start() for _ in range(workers)]
        for pool in self._all:
            self._free.put(pool)

    @property
    def heard_s(self) -> float:
        """Seconds of sound that the workers have heard, unfinished recordings included."""
        return sum(number.value for number in self._heard_s)

    def submit(
        self, fn: Callable[_Given, _Found], /, *args: _Given.args, **kwargs: _Given.kwargs
    ) -> Future[_Found]:
        pool = self._free.get()
        try:
            future = pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:  # killed while it had nothing to do
            pool = self._replace(pool)
            future = pool.submit(fn, *args, **kwargs)
        future.add_done_callback(lambda done: self._release(pool, done))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for pool in self._all:
            pool.shutdown(wait, cancel_futures=cancel_futures)
        self._lifeline.close()

    def kill(self) -> None:
        """End all processes in the middle of their tasks."""
        self._lifeline.close()

    def _release(self, pool: ProcessPoolExecutor, done: Future[Any]) -> None:
        lost = not done.cancelled() and isinstance(done.exception(), BrokenProcessPool)
        self._free.put(self._replace(pool) if lost and not self._lifeline.closed else pool)

    def _replace(self, pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
        pool.shutdown(wait=False)
        with self._lock:
            fresh = self._all[self._all.index(pool)] = self._start()
        return fresh

    def _start(self) -> ProcessPoolExecutor:
        heard_s = self._context.RawValue(c_double)
        self._heard_s.append(heard_s)
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_hold, initargs=(self._ending, heard_s)
        )


def _hold(ending: Connection, heard_s: c_double) -> None:
    """Prepare a worker: it ends with the one that started it, however that ends.

    Only the starter holds the other end of the pipe `ending`, which the system closes if need be.
    """
    share(heard_s)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group of processes

    def watch() -> None:
        wait([ending])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def open_executor(settings: WorkerSettings) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many tasks to give it at once.

    Raises:
        MissingDependencyError: Dask or Ray is not installed.
        PlatformError: no cluster answers.
    """
    if settings.executor is not None:
        with open_cluster(settings.executor) as found:
            yield found
        return
    workers = settings.workers or usable_cpus()
    pool = LocalPool(workers)
    try:
        yield pool, workers
    except BaseException:  # an hour-long recording is not heard to its end first
        pool.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def is_lost(error: BaseException) -> bool:
    """Whether it says that a worker died, not that its task failed."""
    return isinstance(error, BrokenProcessPool) or names_a_lost_worker(error)


def usable_cpus(
    cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """CPUs that this process may use: its affinity, and its control groups' quota of time."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cpus, *_quotas(cgroups, own)]))


def _quotas(cgroups: Path, own: Path) -> Iterator[int]:
    """The quota of each group that this process is in, in whole CPUs, rounded up."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        root = cgroups if not controllers else cgroups / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = root / name.lstrip("/")
        for folder in (group, *(p for p in group.parents if p.is_relative_to(root))):
            quota_us, period_us = _quota(folder)
            if quota_us > 0 and period_us > 0:
                yield -(-quota_us // period_us)


def _quota(folder: Path) -> tuple[int, int]:
    """Microseconds of a period of microseconds; 0 where there is no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
            return (0 if quota == "max" else int(quota)), int(period)
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota_us, period_us = (int((folder / name).read_text()) for name in names)
        return quota_us, period_us
    except (OSError, ValueError):
        return 0, 0
