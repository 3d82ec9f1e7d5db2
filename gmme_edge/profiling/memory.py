"""Peak memory of one model on one backend, measured in a process of its own.

`measure_memory` starts an interpreter that runs `main` with the arguments BUNDLE BACKEND PRECISION
THREADS BATCH GPU_CALL, and reads the JSON that it prints.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.device.child import run_python
from gmme_edge.errors import GmmeEdgeError, PlatformError
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.profiling.opened import uses_graph
from gmme_edge.runtime.backends import COPIED, open_session

_RUNS = 3
_AUTO = "auto"
_CODE = "from gmme_edge.profiling.memory import main; main()"


@dataclass(frozen=True)
class Memory:
    """Host memory of a fresh process that opens a session and runs it three times.

    Attributes:
        peak_bytes: the whole process's peak resident set: interpreter, numpy, engine, model.
        baseline_bytes: the resident peak just before the session was opened: interpreter, numpy
            and the input, but not yet the engine's library. The difference is what the engine
            and the model add. Memory on a GPU counts in neither.
        open_ms: from there to the open session: the engine's library, the file, its preparation.
        first_call_ms: the first call, which still allocates and, on a GPU, compiles.
    """

    peak_bytes: int
    baseline_bytes: int
    open_ms: float | None = None
    first_call_ms: float | None = None


def measure_memory(
    bundle: Bundle,
    backend: str,
    precision: str,
    threads: int | None,
    batch: int,
    gpu_call: str = COPIED,
) -> Memory:
    """Peak memory of these settings, from a fresh process.

    Raises:
        PlatformError: that process failed, or was killed for want of memory.
    """
    path = str(bundle.path.resolve())
    words = [path, backend, precision, str(threads or _AUTO), str(batch), gpu_call]
    done = run_python(_CODE, words)
    if done.returncode:
        ended = "was killed" if done.returncode < 0 else "failed"
        raise PlatformError(
            f"The memory measurement of {bundle.path} ({precision}, {backend}, batch {batch}) "
            f"{ended} with status {done.returncode}: {done.stderr.strip()[-2000:]}",
            fix="free memory or use a smaller batch; otherwise see the message above.",
        )
    return Memory(**json.loads(done.stdout.strip().splitlines()[-1]))


def peak_rss_bytes() -> int:
    """This process's peak resident set so far.

    `getrusage`'s ru_maxrss will not do on Linux: it survives exec, so that a small process
    reports the peak of the large one that started it. VmHWM starts afresh.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise PlatformError("This kernel reports no VmHWM in /proc/self/status.", "Linux.")


def _main(words: list[str]) -> None:
    path, backend, precision, threads, batch, gpu_call = words
    bundle = Bundle.open(path)
    waveform = golden_batch(bundle, int(batch))
    baseline = peak_rss_bytes()
    start_s = time.perf_counter()
    count = None if threads == _AUTO else int(threads)
    session = open_session(bundle, backend, precision, count, cuda_graph=uses_graph(gpu_call))
    open_s = time.perf_counter()
    try:
        session.run(waveform)
        first_s = time.perf_counter()
        for _ in range(_RUNS - 1):
            session.run(waveform)
    finally:
        session.close()
    times_ms = (1000 * (open_s - start_s), 1000 * (first_s - open_s))
    print(json.dumps(asdict(Memory(peak_rss_bytes(), baseline, *times_ms))))


def main() -> None:
    """The measuring process: arguments as `measure_memory` gives them, JSON on stdout."""
    try:
        _main(sys.argv[1:])
    except GmmeEdgeError as error:
        sys.exit(str(error))
