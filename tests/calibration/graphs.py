"""A graph of two convolutions, made by hand, with every tensor computed in numpy as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_SAMPLES, WIDTH = 64, 6
OP_TYPES = ("Conv",)
TENSORS = ("channel", "first", "rectified", "second")


def kernels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(WIDTH, 1, 1)).astype(np.float32),
        rng.normal(size=(WIDTH, WIDTH, 1)).astype(np.float32),
    )


def two_convs(path: Path, seed: int = 0, nan: bool = False) -> Path:
    """``waveform`` (batch, 64) → Conv → Relu → Conv → ``logits``; pointwise kernels."""
    first, second = kernels(seed)
    if nan:
        second[0, 0, 0] = np.nan
    nodes = [
        helper.make_node("Reshape", ["waveform", "shape"], ["channel"]),
        helper.make_node("Conv", ["channel", "w1"], ["first"]),
        helper.make_node("Relu", ["first"], ["rectified"]),
        helper.make_node("Conv", ["rectified", "w2"], ["second"]),
        helper.make_node("Identity", ["second"], ["logits"]),
    ]

    def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes, "two-convs",
        [info("waveform", "batch", N_SAMPLES)],
        [info("logits", "batch", WIDTH, N_SAMPLES)],
        [
            numpy_helper.from_array(np.array([-1, 1, N_SAMPLES], np.int64), "shape"),
            numpy_helper.from_array(first, "w1"),
            numpy_helper.from_array(second, "w2"),
        ],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def tensors_of(clip: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors of one clip ``(64,)``, in float64."""
    first, second = kernels(seed)
    one = first[:, :, 0] @ clip[None].astype(np.float64)
    rectified = np.maximum(one, 0)
    values = (clip[None], one, rectified, second[:, :, 0] @ rectified)
    return dict(zip(TENSORS, values, strict=True))


def clips(n_clips: int, seed: int = 1) -> np.ndarray:
    """Noise of different loudness, ``(n, 64)``."""
    rng = np.random.default_rng(seed)
    loudness = rng.uniform(0.01, 1, (n_clips, 1))
    return (loudness * rng.normal(size=(n_clips, N_SAMPLES))).astype(np.float32)
