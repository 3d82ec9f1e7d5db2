"""Bundles small enough to make in a test: a few real ONNX nodes around a real manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gmme_edge.bundle.bundle import GOLDEN, Bundle, BundleFile, Manifest, describe_file
from gmme_edge.spec import ModelSpec, Task, preset

TINY = Task("tiny", 8000, 8192, (4, 4, 4), 3)
OPSET = 17
WIDTH = 128
WEIGHTS = np.random.default_rng(0).normal(size=(WIDTH, TINY.n_classes)).astype(np.float32)


def tiny_spec(name: str = "eat-s-aa") -> ModelSpec:
    return preset(name, TINY)


def reference(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """What the tiny graph computes, in numpy: means of 128 equal stretches, then a Linear."""
    embedding = waveform.reshape(len(waveform), WIDTH, -1).mean(axis=2)
    return {"embedding": embedding, "logits": embedding @ WEIGHTS}


def tiny_graph(
    input_name: str = "waveform", output_name: str = "logits", opset: int = OPSET, ir: int = 8
) -> onnx.ModelProto:
    """``waveform`` (batch, 8192) → ``logits`` (batch, 3) and ``embedding`` (batch, 128)."""
    nodes = [
        helper.make_node("Reshape", [input_name, "shape"], ["stretches"]),
        helper.make_node("ReduceMean", ["stretches"], ["embedding"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weights"], [output_name]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", TINY.n_samples])],
        [
            helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH]),
        ],
        [
            numpy_helper.from_array(np.array([0, WIDTH, -1], np.int64), "shape"),
            numpy_helper.from_array(WEIGHTS, "weights"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def make_bundle(
    folder: Path,
    name: str = "eat-s-aa",
    precisions: tuple[str, ...] = ("fp32",),
    graph: onnx.ModelProto | bytes | None = None,
) -> Bundle:
    """Write a bundle whose precisions all hold the same graph (or `graph`), and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = tiny_graph() if graph is None else graph
    content = chosen if isinstance(chosen, bytes) else chosen.SerializeToString()
    files: list[BundleFile] = []
    for precision in precisions:
        (folder / f"model.{precision}.onnx").write_bytes(content)
        files.append(
            describe_file(folder, f"model.{precision}.onnx", "model", precision, opset=OPSET)
        )
    waveform = np.random.default_rng(1).normal(size=(2, TINY.n_samples)).astype(np.float32)
    np.savez(folder / GOLDEN, waveform=waveform, **reference(waveform))
    files.append(describe_file(folder, GOLDEN, "golden"))
    manifest = Manifest(tiny_spec(name), ("a", "b", "c"), untrained=True, files=tuple(files))
    Bundle(folder, manifest).save_manifest()
    return Bundle.open(folder)
