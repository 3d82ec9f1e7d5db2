"""What TensorRT-RTX makes of ONNX graphs, without a GPU: the layers of the engines it builds.

    python benchmarks/rtx_layers.py GRAPH.onnx… [--sm 86,89,120]

Reading an engine needs its GPU, but the builder's own log, at its most talkative, ends with the
engine's layers. They are read from there by `tensorrt_inspector`. Builds are those of `export`.
"kernels" are the layers that compute; "convolutions, products" are those whose kind or name says so
(Corr, Fc, gemm, gemv), by the precision of what they read. Nothing is run or timed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

from gmme_edge.runtime.engines.library import captured_log, load_library
from gmme_exporters.tensorrt.config import EngineOptions, configure
from gmme_exporters.tensorrt.inspector import EngineLayer, EngineLayers, parse_layers
from gmme_exporters.tensorrt.network import create_network, parse_network
from gmme_exporters.tensorrt.worker import build_serialized

PRODUCT = re.compile(r"corr|_fc|gemm|gemv", re.IGNORECASE)
HEADER = (
    "| graph | SM | engine, KiB | network layers | engine layers | kernels | in FP32 "
    "| convolutions, products | of these |\n|---|---:|---:|---:|---:|---:|---:|---:|---|"
)


def build(library: ModuleType, graph: Path, precision: str, sm: int) -> tuple[int, int, str]:
    """Size of the engine in bytes, layers of the network before fusion, the talkative log."""
    said: list[str] = []

    class Logger(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            said.append(message)

    options = EngineOptions(sm=sm)
    logger = Logger()
    builder = library.Builder(logger)  # the first logger is kept for as long as this lives
    with captured_log(library) as log:
        network = create_network(library, builder)
        n_samples = parse_network(library, network, graph, log)
        config = configure(library, builder, precision, options, sm, n_samples)
        plan = build_serialized(library, builder, network, config, None)
    if plan is None:
        raise SystemExit(f"{graph} for SM{sm}: {said[-3:]}")
    return len(plan), int(network.num_layers), "\n".join(said)


def read_layers(log: str) -> EngineLayers:
    """The engine's layers in the last list of them that the builder logged."""
    text = log.rpartition("\nLayers:\n")[2].partition("\n\n")[0]
    return parse_layers(json.dumps({"Layers": [_layer(line) for line in text.splitlines()]}))


def _layer(line: str) -> dict[str, object]:
    name, kind, inputs, outputs, tactic = re.findall(
        r"^Name: (.*?), LayerType: (.*?), Inputs: \[(.*?)\], (?:Constants: .*?)?Outputs: "
        r"\[(.*?)\], TacticName: (.*?), StreamId", line,
    )[0]  # fmt: skip
    return {
        "Name": name, "LayerType": kind, "Inputs": _tensors(inputs), "Outputs": _tensors(outputs),
        "TacticName": tactic,
    }  # fmt: skip


def _tensors(text: str) -> list[dict[str, object]]:
    found = re.findall(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)", text)
    return [
        {"Dimensions": [int(size) for size in sizes.split(",") if size], "Format/Datatype": kind}
        for sizes, kind in found
    ]


def is_product(layer: EngineLayer) -> bool:
    return bool(PRODUCT.search(f"{layer.kind} {layer.name}"))


def row(graph: Path, sm: int, size: int, n_network: int, found: EngineLayers) -> str:
    kernels = [layer for layer in found.layers if layer.computes]
    products = Counter(layer.precision or "unknown" for layer in kernels if is_product(layer))
    kinds = ", ".join(f"{count} {name}" for name, count in products.most_common())
    name = f"{graph.parent.name}/{graph.name}"
    figures = (
        sm, size // 1024, n_network, len(found.layers), len(kernels), found.n_fp32,
        products.total(),
    )  # fmt: skip
    return f"| {name} | " + " | ".join(map(str, figures)) + f" | {kinds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", type=Path, nargs="+")
    parser.add_argument("--sm", default="86")
    options = parser.parse_args()
    library = load_library("tensorrt-rtx", "build engines")
    print(HEADER, flush=True)
    for graph in options.graphs:
        precision = graph.name.removeprefix("model.").removesuffix(".onnx")
        for sm in map(int, options.sm.split(",")):
            size, n_network, log = build(library, graph, precision, sm)
            print(row(graph, sm, size, n_network, read_layers(log)), flush=True)


if __name__ == "__main__":
    main()
