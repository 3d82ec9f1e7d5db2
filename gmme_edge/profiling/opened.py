"""What is timed of a contender: a call of its session, with copies from and to a GPU or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import OUTPUTS
from gmme_edge.errors import OutputError
from gmme_edge.runtime.backends import GRAPH, RESIDENT, RESIDENT_GRAPH, open_session
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.runtime.session import GpuSession, Session

if TYPE_CHECKING:
    from gmme_edge.profiling.latency import Contender

_SAME = 1e-2


class Runs(Protocol):
    """What is called in rounds."""

    def run(self, waveform: NDArray[np.float32]) -> object: ...


def uses_graph(gpu_call: str) -> bool:
    return gpu_call in (GRAPH, RESIDENT_GRAPH)


def is_resident(gpu_call: str) -> bool:
    return gpu_call in (RESIDENT, RESIDENT_GRAPH)


@contextmanager
def open_call(
    contender: Contender, clips: NDArray[np.float32], rebuild: Rebuild | None
) -> Iterator[Runs]:
    """The contender's session, or one whose input lies on the GPU already.

    Another way to call must compute the same, so it is compared with the plain one first.

    Raises:
        OutputError: it does not.
        GmmeEdgeError: whatever opening a session raises.
    """
    session = _open(contender, rebuild, uses_graph(contender.gpu_call))
    try:
        yield _prepare(contender, session, clips, rebuild)
    finally:
        session.close()


def _open(contender: Contender, rebuild: Rebuild | None, cuda_graph: bool) -> Session:
    how = contender.backend, contender.precision, contender.threads
    return open_session(contender.bundle, *how, rebuild, cuda_graph)


def _prepare(
    contender: Contender, session: Session, clips: NDArray[np.float32], rebuild: Rebuild | None
) -> Runs:
    if not (uses_graph(contender.gpu_call) or is_resident(contender.gpu_call)):
        return session
    call: Runs = session
    if is_resident(contender.gpu_call):
        call = _Resident(cast(GpuSession, session), clips)
    _check_same(contender, call, clips, rebuild)
    return call


class _Resident:
    def __init__(self, session: GpuSession, clips: NDArray[np.float32]) -> None:
        self._resident = session.resident(clips)

    def run(self, waveform: NDArray[np.float32]) -> None:
        self._resident()

    def logits(self) -> NDArray[np.float32]:
        self._resident()
        return self._resident.fetch()[OUTPUTS[0]]


def _check_same(
    contender: Contender, call: Runs, clips: NDArray[np.float32], rebuild: Rebuild | None
) -> None:
    plain = _open(contender, rebuild, cuda_graph=False)
    try:
        wanted = plain.run(clips)[OUTPUTS[0]]
    finally:
        plain.close()
    tell: Callable[[], NDArray[np.float32]]
    if isinstance(call, _Resident):
        tell = call.logits
    else:
        session = cast(Session, call)
        tell = lambda: session.run(clips)[OUTPUTS[0]]  # noqa: E731
    for _ in range(2):  # a graph is captured by the first call, and only launched by the second
        error = float(np.abs(tell() - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))
        if not error <= _SAME:
            raise OutputError(
                f"{contender.backend} called as {contender.gpu_call} is {error:.1e} off plain.",
                f"at most {_SAME:.0e} of the largest logit.",
                "leave --gpu-call out; and please report it.",
            )
