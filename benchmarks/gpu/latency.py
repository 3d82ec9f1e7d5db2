"""Inference on a GPU: torch eager, torch.compile and CUDA graphs; plain, lowered and fast networks.

Usage: python benchmarks/gpu/latency.py --output latency.json --seconds 90

Random weights. Each row is the median of single calls, its clips per second follow. What fails or
does not fit into the time is a row with its reason. NVML's energy counter, where there is one,
gives the energy per clip of a replayed graph, less the power of the idle GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from gmme_edge.device.facts import describe_device
from gmme_edge.files import write_json
from gmme_edge.models.eat import EAT
from gmme_edge.spec import preset
from gmme_exporters.graphs.export import ExportGraph
from gmme_exporters.lowering.targets import lower

NETWORKS = ("aa", "gmme-k32c8", "gmme-lite-k32c8")
FAST = ("edge-gmme-k32c8", "edge-gmme-lite-k32c8")
PRECISIONS = ("fp16", "bf16", "tf32", "fp32")
BATCHES = (1, 8, 64)
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

Call = Callable[[], object]
Row = dict[str, Any]


def variants(with_compile: bool) -> Iterator[tuple[str, str, str]]:
    """Network, form and way to run it, what matters most first."""
    graph = "graph" if torch.cuda.is_available() else "eager"
    for network in (*NETWORKS, *FAST):
        for form in ("plain", "lowered"):
            yield network, form, graph
    for network in NETWORKS[:2]:
        yield network, "plain", "eager"
    if with_compile:
        for network in NETWORKS[:2]:
            yield network, "plain", "compile"


def build(network: str, form: str, task: str, precision: str, device: str) -> nn.Module:
    torch.manual_seed(0)
    model = EAT(preset(f"eat-s-{network}", task)).eval()
    chosen = lower(model, "tensorrt") if form == "lowered" else model
    return ExportGraph(chosen, embedding=False).eval().to(device, _TYPES.get(precision))


def make_call(module: nn.Module, clips: Tensor, way: str) -> Call:
    """A function of nothing that runs the network once."""

    def run() -> object:
        with torch.inference_mode():
            return module(clips)

    if way == "compile":
        compiled = torch.compile(module, mode="reduce-overhead")

        def run_compiled() -> object:
            with torch.inference_mode():
                return compiled(clips)

        return run_compiled
    return capture(run) if way == "graph" else run


def capture(run: Call) -> Call:
    """The same as one CUDA graph, which starts with one call of the driver."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def time_ms(call: Call, repetitions: int) -> list[float]:
    """Each call alone, from its start to its end on the device."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    samples = []
    for index in range(repetitions + 5):
        synchronize()
        started = time.perf_counter()
        call()
        synchronize()
        if index >= 5:
            samples.append(1e3 * (time.perf_counter() - started))
    return samples


class EnergyCounter:
    """NVML's counter of the GPU's energy; `reason` says why there is none."""

    def __init__(self) -> None:
        self.reason, self._handle = "", None
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            self._read = pynvml.nvmlDeviceGetTotalEnergyConsumption
            self._read(self._handle)
        except Exception as error:  # its classes are not here without it
            self.reason = f"{type(error).__name__}: {error}"

    def joules(self) -> float:
        return float(self._read(self._handle)) / 1e3

    def update_step_ms(self) -> float:
        """How often the counter changes."""
        changes, last, end = [], self.joules(), time.monotonic() + 1
        while time.monotonic() < end:
            now = self.joules()
            if now != last:
                changes.append(time.monotonic())
                last = now
        gaps = [1e3 * (b - a) for a, b in pairwise(changes)]
        return median(gaps) if gaps else float("nan")

    def power_w(self, seconds: float, call: Call | None = None) -> tuple[float, int]:
        """Mean power while `call` repeats, or while nothing runs; and how often it ran."""
        calls, started, first = 0, time.monotonic(), self.joules()
        while time.monotonic() < started + seconds:
            if call is None:
                time.sleep(0.05)
            else:
                call()
                torch.cuda.synchronize()
                calls += 1
        return (self.joules() - first) / (time.monotonic() - started), calls


def measure_energy(call: Call, batch: int, counter: EnergyCounter) -> Row:
    idle_w, _ = counter.power_w(1.5)
    busy_w, calls = counter.power_w(2.0, call)
    return {
        "idle_w": idle_w,
        "busy_w": busy_w,
        "mj_per_clip": 1e3 * (busy_w - idle_w) * 2.0 / max(calls * batch, 1),
    }


def set_arithmetic(precision: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def measure(options: argparse.Namespace, device: str) -> list[Row]:
    deadline, rows = time.monotonic() + options.seconds, list[Row]()
    counter = EnergyCounter()
    rows.append({"energy": counter.reason or f"updates every {counter.update_step_ms():.0f} ms"})
    for task in options.tasks.split(","):
        n_samples = preset("eat-s-aa", task).n_samples
        for network, form, way in variants(options.compile):
            for precision in options.precisions.split(","):
                for batch in map(int, options.batches.split(",")):
                    what = {"task": task, "network": network, "form": form, "way": way,
                            "precision": precision, "batch": batch}  # fmt: skip
                    if time.monotonic() > deadline:
                        rows.append({**what, "left_out": "no time left"})
                        continue
                    try:
                        set_arithmetic(precision)
                        module = build(network, form, task, precision, device)
                        clips = torch.randn(
                            batch, n_samples, device=device, dtype=_TYPES.get(precision)
                        )
                        call = make_call(module, clips, way)
                        samples = time_ms(call, options.repetitions)
                        middle = median(samples)
                        row = {**what, "median_ms": middle, "min_ms": min(samples),
                               "clips_per_s": 1e3 * batch / middle}  # fmt: skip
                        if batch == 64 and precision == "fp16" and not counter.reason:
                            row |= measure_energy(call, batch, counter)
                        rows.append(row)
                    except Exception as error:  # one that fails must not cost the others
                        rows.append({**what, "left_out": f"{type(error).__name__}: {error}"[:400]})
        write_json(options.output, document(device, rows))
    return rows


def document(device: str, rows: list[Row]) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else describe_device().get("cpu")
    return {"schema": 1, "on": name, "torch": torch.__version__, "rows": rows}


def onnxruntime_row() -> Row:
    """Whether ONNX Runtime could be measured too; its CUDA build is a wheel of its own."""
    try:
        import onnxruntime
    except ImportError as error:
        return {"onnxruntime": str(error)}
    return {"onnxruntime": onnxruntime.__version__, "has": onnxruntime.get_available_providers()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--tasks", default="esc50,speech-commands")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = measure(options, device)
    rows.append(onnxruntime_row())
    write_json(options.output, document(device, rows))
    print(f"{sum('median_ms' in row for row in rows)} of {len(rows)} rows measured")


if __name__ == "__main__":
    main()
