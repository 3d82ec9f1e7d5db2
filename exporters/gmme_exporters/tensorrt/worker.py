"""A TensorRT network built on a worker thread, so that Ctrl-C and progress work meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from gmme_exporters.tensorrt.objects import Builder, BuilderConfig, Network, ProgressMonitor

Progress = Callable[[str, int, int], None]


class _Steps:
    """What a progress monitor keeps; the library calls it from several threads."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self.cancelled = False
        self.error: BaseException | None = None

    def start(self, phase: str, n_steps: int) -> None:
        with self._lock:
            self._sizes[phase] = n_steps

    def complete(self, phase: str, step: int) -> bool:
        """Report one step; False asks the library to stop."""
        with self._lock:
            if self._on_progress is not None and not self.cancelled:
                try:
                    self._on_progress(phase, step + 1, self._sizes.get(phase, step + 1))
                except BaseException as error:
                    # An exception that crossed the library's C++ frames would end the process.
                    self.error, self.cancelled = error, True
            return not self.cancelled


def _create_monitor(library: ModuleType, steps: _Steps) -> ProgressMonitor:
    class Monitor(library.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, n_steps: int) -> None:
            steps.start(phase, n_steps)

        def step_complete(self, phase: str, step: int) -> bool:
            return steps.complete(phase, step)

        def phase_finish(self, phase: str) -> None:
            pass

    return Monitor()


def build_serialized(
    library: ModuleType,
    builder: Builder,
    network: Network,
    config: BuilderConfig,
    on_progress: Progress | None,
) -> bytes | None:
    """The engine, or None where the library failed; its log has the reason.

    `on_progress(phase, steps done, steps in all)` is called from the library's threads, where the
    version has a progress monitor (not TensorRT 8). What it raises stops the build and is raised
    here, as is Ctrl-C; without a monitor that waits for the build's end.
    """
    steps = _Steps(on_progress)
    if hasattr(library, "IProgressMonitor") and hasattr(config, "progress_monitor"):
        monitor = _create_monitor(library, steps)
        config.progress_monitor = monitor
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(builder.build_serialized_network, network, config)
        try:
            plan = future.result()
        except BaseException:
            steps.cancelled = True  # leaving the pool then waits for the build to stop
            raise
    if steps.error is not None:
        raise steps.error
    return None if plan is None else bytes(plan)
