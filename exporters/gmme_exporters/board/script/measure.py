"""What is measured."""

import argparse
import hashlib
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np

from gmme_edge.device.energy.meter import Meter, Meters
from gmme_edge.device.energy.rails import find_rails
from gmme_edge.device.energy.rapl import find_rapl
from gmme_edge.profiling.calls import PACED_HOPS, take
from gmme_edge.profiling.windows import EnergySettings, measure_runs
from gmme_exporters.board.script.cpu import Cpu, CpuNetwork
from gmme_exporters.board.script.device import peak_rss_bytes
from gmme_exporters.board.script.engines import Board, Network, engine_path
from gmme_exporters.board.script.folder import (
    AGAIN,
    Failure,
    Manifest,
    golden,
    read_manifest,
    say,
)
from gmme_exporters.board.script.nvml import find_nvml

Failures = Dict[str, Failure]
Engine = Union[Board, Cpu]
AnyNetwork = Union[Network, CpuNetwork]


def open_engine(backend: str, threads: Optional[int]) -> Engine:
    """TensorRT or ONNX Runtime; ``auto`` takes the first that this device has."""
    if backend == "ort-cpu":
        return Cpu(threads)
    try:
        return Board()
    except Failure as error:
        if backend == "tensorrt":
            raise
        say(f"no TensorRT here, so ONNX Runtime on the CPU is taken: {str(error).splitlines()[0]}")
    return Cpu(threads)


def check_outputs(network: AnyNetwork, manifest: Manifest, precision: str) -> Dict[str, float]:
    """Compare with the reference's logits, by the limit that the export noted."""
    clips, reference = golden(manifest)
    order = np.arange(0, len(clips), network.batch)[:, None] + np.arange(network.batch)
    logits = np.concatenate([network.run(clips[part % len(clips)]).copy() for part in order])
    error = np.abs(logits[: len(clips)].astype(np.float64) - reference)
    relative = float(error.max() / max(float(np.abs(reference).max()), 1e-12))
    limit = float(manifest["parity"].get(precision, {}).get("limit", 0.0))
    agreement = float((logits[: len(clips)].argmax(1) == reference.argmax(1)).mean())
    if not relative <= limit:
        raise Failure(
            5,
            f"{precision} disagrees with its reference: relative error {relative:.2e}, of at "
            f"most {limit:.0e}; top-1 agreement {agreement:.1%} of {len(clips)} clips.",
        )
    say(f"{precision}: outputs agree, relative error {relative:.1e}")
    return {"relative": relative, "limit": limit, "top1_agreement": agreement}


class Timed:
    """Milliseconds and missed deadlines of the networks; what failed is left out of both."""

    def __init__(self, names: List[str]) -> None:
        self.ms: Dict[str, List[float]] = {name: [] for name in names}
        self.misses = dict.fromkeys(names, 0)
        self.failures: Failures = {}


def call_of(network: AnyNetwork, clips: Any) -> Callable[[], Any]:
    inputs = clips[np.arange(network.batch) % len(clips)]
    return lambda: network.run(inputs)


def time_networks(
    networks: Dict[str, AnyNetwork], clips: Any, options: argparse.Namespace
) -> Timed:
    """Every call; the networks take turns, in a new random order each time.

    One that fails is left out from there on.
    """
    rng = np.random.RandomState(0)
    timed = Timed(list(networks))
    calls = {name: call_of(network, clips) for name, network in networks.items()}
    per_round = PACED_HOPS if options.stream == "paced" else 1
    for index in range(options.warmup + math.ceil(options.repetitions / per_round)):
        for name in rng.permutation(sorted(timed.ms)):
            try:
                if index < options.warmup:
                    calls[name]()
                    continue
                ms, misses = take(calls[name], options.stream, options.hop_s)
            except Failure as error:
                timed.failures[name] = error
                del timed.ms[name]
                continue
            timed.ms[name] += ms
            timed.misses[name] += misses
    return timed


def choose_meter(engine: Engine) -> Meter:
    """What measures the energy of this device."""
    found = [find_rails(), find_nvml(), find_rapl()]
    meters = Meters(
        [meter for each in found for meter in each.readable],
        [problem for each in found for problem in each.unreadable],
    )
    meter = meters.choose(on_gpu=isinstance(engine, Board))
    if meter is None:
        told = " ".join(map(str, meters.unreadable)) or "This device shows no source."
        raise Failure(
            7,
            f"The energy of {engine.backend} cannot be measured here. {told}",
            "see above, or leave --energy out: nothing is estimated.",
        )
    return meter


def measure_energy(
    networks: List[AnyNetwork], clips: Any, meter: Meter, options: argparse.Namespace
) -> Tuple[List[Dict[str, Any]], Dict[str, Any]]:
    """What a clip takes, by network; and the meter's trace."""
    settings = EnergySettings(options.energy_rounds, options.energy_window_s)
    say(f"energy by {meter.name}: {settings.rounds} windows each")
    runs = {row: call_of(network, clips) for row, network in enumerate(networks)}
    batches = dict.fromkeys(runs, options.batch)
    energies, trace = measure_runs(runs, batches, meter, settings, lambda: None)
    return [asdict(energies[row]) for row in runs], asdict(trace)


def measure_memory(engine: Engine, precision: str, batch: int) -> Dict[str, float]:
    """Of a fresh process that runs this precision three times: memory, and times of the start."""
    words = ["--backend", engine.backend, "--batch", str(batch), "--memory-of", precision]
    if isinstance(engine, Board):
        plan = hashlib.sha256(engine_path(precision, batch).read_bytes()).hexdigest()
        words += ["--plan-sha256", plan]
    elif engine.threads:
        words += ["--threads", str(engine.threads)]
    flags = ["-I"] if sys.flags.isolated else []
    command = [sys.executable, *flags, __file__, *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
        if not done.returncode:
            return dict(json.loads(done.stdout.decode().splitlines()[-1]))
        said = done.stderr.decode(errors="replace").strip()[-500:]
    except (OSError, ValueError, IndexError) as error:
        said = str(error)
    raise Failure(7, f"The memory of {precision} could not be measured: {said}")


def run_once(options: argparse.Namespace) -> None:
    """What `measure_memory` starts."""
    precision, batch = options.memory_of, options.batch
    manifest = read_manifest()
    clips = golden(manifest)[0]
    baseline, start_s = peak_rss_bytes(), time.perf_counter()
    network: AnyNetwork
    if options.backend == "ort-cpu":
        network = Cpu(options.threads).open(manifest, precision, batch)
    else:
        plan = engine_path(precision, batch).read_bytes()
        if hashlib.sha256(plan).hexdigest() != options.plan_sha256:
            raise Failure(3, f"{engine_path(precision, batch)} was changed meanwhile.", AGAIN)
        network = Network(Board(), plan, batch)
    call, open_s = call_of(network, clips), time.perf_counter()
    call()
    first_s = time.perf_counter()
    for _ in range(2):
        call()
    told = {
        "peak_memory_bytes": peak_rss_bytes(),
        "baseline_memory_bytes": baseline,
        "open_ms": 1000 * (open_s - start_s),
        "first_call_ms": 1000 * (first_s - open_s),
    }
    print(json.dumps(told))
