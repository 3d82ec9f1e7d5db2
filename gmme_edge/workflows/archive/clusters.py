"""Workers that exist already: a Dask or Ray cluster as a `concurrent.futures.Executor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from gmme_edge.errors import PlatformError, require

# By name, since neither library need be installed where the other is.
_LOST = ("KilledWorker", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")


@contextmanager
def open_cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """An executor on ``dask://HOST:PORT`` or ``ray://HOST:PORT``, and how many tasks it wants.

    Raises:
        MissingDependencyError: its library is not installed.
        PlatformError: nobody answers there, or it has no workers.
    """
    opening = _dask if address.startswith("dask://") else _ray
    with opening(address) as (executor, workers):
        if not workers:
            raise PlatformError(f"{address} has no workers.", "a cluster with at least one.")
        yield executor, 2 * workers


def names_a_lost_worker(error: BaseException) -> bool:
    """Whether a cluster says that a worker died, not that its task failed."""
    return type(error).__name__ in _LOST


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    distributed = require("distributed", f"scan on {address}")
    try:
        client = distributed.Client(address.replace("dask://", "tcp://", 1), timeout=10)
    except (OSError, TimeoutError) as error:
        raise PlatformError(f"{address} does not answer: {error}", "a Dask scheduler.") from error
    with client:
        # Not pure: a task that failed is tried again, not answered from memory.
        yield client.get_executor(pure=False), sum(client.nthreads().values())


@contextmanager
def _ray(address: str) -> Iterator[tuple[Executor, int]]:
    ray = require("ray", f"scan on {address}")
    try:
        context = ray.init(address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise PlatformError(
            f"{address} does not answer: {error}", "a Ray client server."
        ) from error
    with context:
        yield _RayExecutor(ray), int(ray.cluster_resources().get("CPU", 0))


class _RayExecutor(Executor):
    """Ray's remote calls as futures; a call whose worker dies fails, and is not repeated by Ray."""

    def __init__(self, ray: Any) -> None:  # noqa: ANN401 - no stubs
        self._call = ray.remote(max_retries=0)(_call)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base class has it
        future: Future[Any] = self._call.remote(fn, *args, **kwargs).future()
        return future


def _call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as `submit`
    return fn(*args, **kwargs)
