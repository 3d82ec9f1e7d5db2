"""Time of plain and lowered networks on a CPU, beside OpenVINO, torch and torch.compile.

    python benchmarks/cpu_latency.py [--threads 1,2] [--graphs FOLDER] [--output FILE] [--plot SVG]

Random weights, batch 1. In every round each variant runs once untimed and once timed, in random
order, and matrix products in float32 show what the machine gives at that moment: ONNX Runtime's,
numpy's (mostly OpenBLAS) and torch's (mostly MKL); the fastest is the limit. Ratios are of medians,
with 95 % intervals from rounds drawn with replacement. Each task and number of threads is a block
of its own: the machine should be idle, since nothing can be told apart from its noise.

OpenVINO (`pip install openvino`) and a C++ compiler (torch.compile) are optional: what is missing
is left out, and said.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

from gmme_calibration.ranges import calibrate_ranges
from gmme_edge.complexity import count
from gmme_edge.device.facts import describe_device, installed_versions
from gmme_edge.files import write_json
from gmme_edge.models.checkpoint import untrained_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.report.render.svg import BLUE, ORANGE, Bar, BarGroup, draw_bars
from gmme_edge.runtime import openvino
from gmme_edge.runtime.onnxruntime import open_graph
from gmme_edge.runtime.ort_loading import worth_spinning
from gmme_edge.spec import preset
from gmme_edge.workflows.int8 import synthetic_clips
from gmme_exporters.graphs.export import ExportGraph, export_onnx
from gmme_exporters.int8.qdq import OP_TYPES, Quantizer, prepare_int8
from gmme_exporters.lowering.targets import lower, target_of

MODELS = (
    "aa", "gmme-k32c8", "gmme-k32c16", "gmme-k64c16", "gmme-lite-k32c8",
    "edge-gmme-k32c8", "edge-gmme-lite-k32c8",
)  # fmt: skip
TASKS = ("esc50", "speech-commands")
PLAIN, OURS, OURS_INT8 = "plain ONNX Runtime", "**ours**, FP32", "**ours**, INT8"
PLAIN_INT8 = "plain ONNX Runtime, INT8"
OPENVINO, OPENVINO_BF16 = "OpenVINO, plain, FP32", "OpenVINO, plain, bfloat16"
OURS_OPENVINO = {"fp32": "OpenVINO, **ours**, FP32", "bf16": "OpenVINO, **ours**, bfloat16",
                 "int8-ort": "OpenVINO, **ours**, INT8"}  # fmt: skip
EAGER, COMPILED = "torch eager", "torch.compile"
PRODUCTS = ("product, ONNX Runtime", "product, numpy", "product, torch")
RATIOS = (
    ("plain / ours, FP32", PLAIN, OURS), ("OpenVINO / ours, FP32", OPENVINO, OURS),
    ("torch.compile / ours, FP32", COMPILED, OURS), ("plain FP32 / ours INT8", PLAIN, OURS_INT8),
    ("ours, FP32 / INT8", OURS, OURS_INT8),
    ("OpenVINO bfloat16 / ours INT8", OPENVINO_BF16, OURS_INT8),
    ("OpenVINO ours, FP32 / ours, FP32", OURS_OPENVINO["fp32"], OURS),
    ("OpenVINO ours, bfloat16 / ours, FP32", OURS_OPENVINO["bf16"], OURS),
    ("OpenVINO ours, INT8 / ours, INT8", OURS_OPENVINO["int8-ort"], OURS_INT8),
)  # fmt: skip
PRODUCT_SIZE = 1024

Call = Callable[[], object]
Key = tuple[str, str]  # model, variant


def main() -> None:
    options = _options()
    print(f"{describe_device()['cpu']}; {_versions()}\n")
    blocks = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.graphs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for task in options.tasks:
            files = {m: _write(m, task, folder) for m in options.models}
            for threads in options.threads:
                torch.set_num_threads(threads)
                calls: dict[Key, Call] = {
                    ("", name): call for name, call in _products(threads).items()
                }
                for model, graphs in files.items():
                    for variant, call in _variants(graphs, threads, options.compile):
                        calls[model, variant] = call
                samples = interleave(calls, options.rounds)
                blocks.append(_summary(task, threads, options.models, samples))
                print(_markdown(blocks[-1], options.models), flush=True)
    if options.output:
        write_json(options.output, {"device": describe_device(), "blocks": blocks})
    if options.plot:
        options.plot.write_text(_draw(blocks), encoding="utf-8")


def _write(model: str, task: str, folder: Path) -> dict[str, Any]:
    """The graphs of one network: plain and lowered, FP32 and INT8; those in `folder` are kept."""
    started = time.perf_counter()
    spec = preset(f"eat-s-{model}", task)
    clips = synthetic_clips(spec).waveforms[:]
    network = untrained_checkpoint(spec, clips).model
    graphs: dict[str, Any] = {"network": network}
    for name, target in (("plain", "generic"), ("ours", "ort-cpu")):
        path = folder / f"{task}-{model}-{name}"
        graphs[name] = source = path.with_suffix(".onnx")
        graphs[f"{name}-int8"] = path.with_suffix(".int8.onnx")
        if graphs[f"{name}-int8"].exists():  # written last
            continue
        prepared = path.with_suffix(".prepared.onnx")
        export_onnx(lower(network, target), graphs[name], embedding=False)
        if (int8_target := target_of("int8-ort", target)) != target:
            source = path.with_suffix(".for-int8.onnx")
            export_onnx(lower(network, int8_target), source, embedding=False)
        prepare_int8(source, prepared)
        quantizer = Quantizer(prepared, calibrate_ranges(prepared, clips, OP_TYPES), "int8-ort")
        quantizer.write(graphs[f"{name}-int8"], quantizer.front)
    print(f"{task} {model}: exported in {time.perf_counter() - started:.0f} s", flush=True)
    return graphs


def _variants(
    graphs: Mapping[str, Any], threads: int, compiled: bool
) -> Iterator[tuple[str, Call]]:
    network: EAT = graphs["network"]
    waveform = np.random.default_rng(0).standard_normal((1, network.spec.n_samples), np.float32)
    for variant, file, precision in (
        (PLAIN, "plain", "fp32"), (OURS, "ours", "fp32"),
        (PLAIN_INT8, "plain-int8", "int8-ort"), (OURS_INT8, "ours-int8", "int8-ort"),
    ):  # fmt: skip
        graph = open_graph(graphs[file], precision, threads, worth_spinning(network.spec))
        yield variant, partial(graph, waveform)
    if find_spec("openvino"):
        yield OPENVINO, _openvino(graphs["plain"], threads, waveform, "f32")
        if _has_bfloat16():
            yield OPENVINO_BF16, _openvino(graphs["plain"], threads, waveform, "bf16")
        for precision, variant in OURS_OPENVINO.items():
            if precision != "bf16" or _has_bfloat16():
                file = graphs["ours-int8" if precision == "int8-ort" else "ours"]
                yield variant, partial(openvino.open_graph(file, precision, threads), waveform)
    module, clip = ExportGraph(network, embedding=False).eval(), torch.from_numpy(waveform)
    yield EAGER, partial(_without_gradients, module, clip)
    if compiled:
        # The default limit is eight: all networks behind would run eagerly. fullgraph refuses that.
        torch._dynamo.config.recompile_limit = 1000
        fast = torch.compile(module, fullgraph=True, dynamic=False)
        yield COMPILED, partial(_without_gradients, fast, clip)


def _without_gradients(module: Callable[..., object], clip: torch.Tensor) -> object:
    with torch.inference_mode():
        return module(clip)


def _has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 here, as it does by default on CPUs with AMX."""
    return openvino.supports("openvino", "bf16")


def _openvino(path: Path, threads: int, waveform: np.ndarray, precision: str) -> Call:
    import openvino as library

    model = library.Core().read_model(path)
    model.reshape(list(waveform.shape))  # its fastest case: a fixed batch
    settings = {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }  # fmt: skip
    request = library.compile_model(model, "CPU", settings).create_infer_request()
    return partial(request.infer, [waveform])


def _products(threads: int) -> dict[str, Call]:
    """The same matrix product by each of `PRODUCTS` that runs on so many threads.

    numpy's library takes its number from OMP_NUM_THREADS when the process starts, and else all
    cores: what it does with two is no limit for one.
    """
    size = [PRODUCT_SIZE, PRODUCT_SIZE]
    left, right = np.random.default_rng(0).standard_normal((2, *size), np.float32)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, size) for n in ("a", "b", "c")]
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    model = helper.make_model(
        helper.make_graph([node], "product", values[:2], values[2:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    own, tensors = np.empty(size, np.float32), [torch.from_numpy(each) for each in (left, right)]
    calls = (
        partial(session.run, None, {"a": left, "b": right}),
        partial(np.matmul, left, right, out=own),
        partial(torch.mm, *tensors, out=torch.empty(size)),
    )
    of_numpy = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    return {
        name: call
        for name, call in zip(PRODUCTS, calls, strict=True)
        if name != PRODUCTS[1] or threads == of_numpy
    }


def interleave(calls: Mapping[Key, Call], rounds: int) -> dict[Key, list[float]]:
    """Per variant its times in ms, one per round."""
    shuffle, order = random.Random(0), list(calls)
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(rounds):
        shuffle.shuffle(order)
        for key in order:
            calls[key]()
            started = time.perf_counter()
            calls[key]()
            samples[key].append(1e3 * (time.perf_counter() - started))
    return samples


def _summary(
    task: str, threads: int, models: Sequence[str], samples: Mapping[Key, list[float]]
) -> dict[str, Any]:
    medians = {key: median(values) for key, values in samples.items()}
    products = {
        name: 2 * PRODUCT_SIZE**3 / medians["", name] / 1e6
        for name in PRODUCTS if ("", name) in medians
    }  # fmt: skip
    limit = max(products.values())
    rates = {
        model: count(preset(f"eat-s-{model}", task)).flops / medians[model, OURS] / 1e6
        for model in models
    }

    def ratios(pairs: Mapping[str, tuple[Key, Key]]) -> dict[str, Any]:
        return {
            name: paired_ratio(samples[above], samples[below])
            for name, (above, below) in pairs.items() if above in samples and below in samples
        }  # fmt: skip

    return {
        "task": task, "threads": threads, "rounds": len(samples["", PRODUCTS[0]]),
        "product_gflops": products,
        "medians_ms": {
            variant: {m: medians[m, variant] for m in models if (m, variant) in medians}
            for variant in dict.fromkeys(v for _, v in samples if v not in PRODUCTS)
        },
        "ratios": {
            name: ratios({m: ((m, above), (m, below)) for m in models})
            for name, above, below in RATIOS
        },
        "to_aa": {
            variant: ratios({m: ((m, variant), ("aa", variant)) for m in models if m != "aa"})
            for variant in (PLAIN, OURS, OURS_INT8)
        },
        "gflops": rates,
        "limit_factor": {model: limit / rate for model, rate in rates.items()},
    }  # fmt: skip


def _markdown(block: Mapping[str, Any], models: Sequence[str]) -> str:
    head = ["", f"{block['task']}, {block['threads']} thread(s)", *models]
    lines = ["| " + " | ".join(head[1:]) + " |", "|---" + "|---:" * len(models) + "|"]

    def row(name: str, cells: Mapping[str, str]) -> None:
        if not cells:
            return
        lines.append(f"| {name} | " + " | ".join(cells.get(m, "–") for m in models) + " |")

    for variant, values in block["medians_ms"].items():
        row(f"{variant}, ms", {m: f"{value:.1f}" for m, value in values.items()})
    for name, values in block["ratios"].items():
        row(name, {m: _ratio(value) for m, value in values.items()})
    for variant, values in block["to_aa"].items():
        row(f"of AA's time, {variant}", {m: _ratio(value) for m, value in values.items()})
    row("ours, GFLOP/s", {m: f"{value:.0f}" for m, value in block["gflops"].items()})
    factor = {m: f"{value:.2f}" for m, value in block["limit_factor"].items()}
    products = block["product_gflops"]
    row(f"times the limit at {max(products.values()):.0f} GFLOP/s", factor)
    rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in products.items())
    return "\n".join([*lines, f"\n{block['rounds']} rounds; {rates}.\n"])


def _draw(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Per block the milliseconds of each network, FP32 and INT8 on ONNX Runtime."""
    groups = [
        BarGroup(
            f"{block['task']}, {block['threads']} thread(s): ms, FP32 (blue) and INT8 (orange)",
            [
                Bar(model, [(value, BLUE), (block["medians_ms"][OURS_INT8][model], ORANGE)],
                    f"{value:.1f}, {block['medians_ms'][OURS_INT8][model]:.1f}")
                for model, value in block["medians_ms"][OURS].items()
            ],
        )
        for block in blocks
    ]  # fmt: skip
    return draw_bars("Latency of the exported networks", groups, f"{describe_device()['cpu']}")


def _ratio(value: tuple[float, tuple[float, float]]) -> str:
    ratio, (low, high) = value
    return f"{ratio:.2f} ({low:.2f}–{high:.2f})"


def _versions() -> str:
    found = installed_versions(("onnxruntime", "openvino", "torch"))
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _options() -> argparse.Namespace:
    def words(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=words, default=list(TASKS))
    parser.add_argument("--models", type=words, default=list(MODELS), help="aa among them")
    parser.add_argument(
        "--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2]
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG chart")
    parser.add_argument("--graphs", type=Path, help="keep the exported graphs there, and use them")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    options = parser.parse_args()
    if options.compile and not (shutil.which("g++") or shutil.which("clang++")):
        print("torch.compile is left out: no C++ compiler.")
        options.compile = False
    if not find_spec("openvino"):
        print("OpenVINO is left out: pip install openvino.")
    return options


if __name__ == "__main__":
    main()
