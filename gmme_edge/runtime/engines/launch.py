"""Queueing an engine's network: as it is, or captured once as a CUDA graph and launched as that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmme_edge.bundle.manifest import INPUT
from gmme_edge.device.cuda import Cudart
from gmme_edge.runtime.session import Outputs, check_graph_batch

if TYPE_CHECKING:
    from gmme_edge.runtime.engines.objects import ExecutionContext
    from gmme_edge.runtime.engines.session import TensorRTSession


class Launcher:
    """An execution context on a stream; it keeps the context alive until `close`."""

    def __init__(
        self, cuda: Cudart, context: ExecutionContext, stream: int, is_graph: bool
    ) -> None:
        self._cuda, self.context, self._stream = cuda, context, stream
        self.is_graph = is_graph
        self._graph = 0
        self._n_captured: int | None = None

    def check(self, n_clips: int) -> None:
        """Raise `UsageError` where the graph is of another batch size."""
        if self.is_graph:
            check_graph_batch(n_clips, self._n_captured)

    def enqueue(self, n_clips: int, shape: tuple[int, int]) -> bool:
        """Queue the network for an input of this shape; whether that succeeded."""
        if not self.is_graph:
            return self._enqueue(shape)
        if not self._graph:
            # The first run of a shape may allocate, which no graph can hold.
            if not self._enqueue(shape):
                return False
            self._cuda.synchronize(self._stream)
            again = self.context.execute_async_v3
            self._graph = self._cuda.capture(self._stream, lambda: again(self._stream))
            self._n_captured = n_clips
        if self._graph:
            self._cuda.launch(self._graph, self._stream)
        return bool(self._graph)

    def _enqueue(self, shape: tuple[int, int]) -> bool:
        done = self.context.set_input_shape(INPUT, shape)
        return done and self.context.execute_async_v3(self._stream)

    def profile(self, timer: object) -> None:
        """Let the context tell `timer`, an ``IProfiler``, of every layer from now on."""
        self.context.profiler = timer

    def close(self) -> None:
        if self._graph:
            self._cuda.destroy_graph(self._graph)
        self._graph = 0


class ResidentEngine:
    """`session.Resident` of the batch in the buffers of a session, which has one such batch."""

    def __init__(self, session: TensorRTSession, n_clips: int) -> None:
        self._session, self._n_clips = session, n_clips

    def __call__(self) -> None:
        self._session.run_resident(self._n_clips)

    def fetch(self) -> Outputs:
        return self._session.fetch(self._n_clips)
