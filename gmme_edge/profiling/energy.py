"""Energy per clip: windows of calls without a pause, between windows in which nothing runs.

What the machine takes while it idles is subtracted, measured just before and just after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from gmme_edge.device.energy.meter import Meter, Meters
from gmme_edge.errors import PlatformError
from gmme_edge.profiling.energy_result import Energy, PowerTrace
from gmme_edge.profiling.inputs import golden_batch
from gmme_edge.profiling.latency import Contender
from gmme_edge.profiling.opened import open_call
from gmme_edge.profiling.windows import EnergySettings as EnergySettings
from gmme_edge.profiling.windows import measure_runs
from gmme_edge.runtime.backends import BACKENDS
from gmme_edge.runtime.engines.cache import Rebuild


def choose_meters(meters: Meters, contenders: Sequence[Contender]) -> dict[Meter, list[int]]:
    """The meter of each contender, with the contenders' positions.

    Raises:
        PlatformError: a contender has none; the message tells what mends those that are there.
    """
    chosen: dict[Meter, list[int]] = {}
    for index, contender in enumerate(contenders):
        meter = meters.choose(on_gpu=not BACKENDS[contender.backend].on_cpu)
        if meter is None:
            found = "\n".join(map(str, meters.unreadable)) or "This machine shows no source."
            raise PlatformError(
                f"The energy of {contender.backend} cannot be measured here. {found}",
                "a readable source: power rails of a board, NVML's counter, or RAPL; "
                "virtual machines and containers mostly hide them.",
                "see above, or leave --energy out: nothing is estimated.",
            )
        chosen.setdefault(meter, []).append(index)
    return chosen


def measure_energy(
    contenders: Sequence[Contender],
    meters: dict[Meter, list[int]],
    settings: EnergySettings,
    on_progress: Callable[[int, int], None] | None = None,
    rebuild: Rebuild | None = None,
) -> tuple[list[Energy], list[PowerTrace]]:
    """Energy of every contender, and the traces that it follows from.

    Raises:
        PlatformError: a meter stands still or goes away.
        GmmeEdgeError: whatever a session raises.
    """
    energies: dict[int, Energy] = {}
    traces = []
    total = settings.rounds * (len(contenders) + len(meters)) + len(meters)
    done = iter(range(1, total + 1))
    tell = (lambda: on_progress(next(done), total)) if on_progress else (lambda: None)
    for meter, rows in meters.items():
        with contextlib.ExitStack() as stack:
            batches = {row: contenders[row].batch for row in rows}
            runs: dict[int, Callable[[], object]] = {}
            for row in rows:
                clips = golden_batch(contenders[row].bundle, batches[row])
                call = stack.enter_context(open_call(contenders[row], clips, rebuild))
                runs[row] = partial(call.run, clips)
            found, trace = measure_runs(runs, batches, meter, settings, tell)
        energies.update((row, Energy(**vars(each))) for row, each in found.items())
        traces.append(trace)
    return [energies[row] for row in range(len(contenders))], traces
