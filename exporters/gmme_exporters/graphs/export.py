"""A trained network to an ONNX graph: raw waveform in, logits and embedding out."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from gmme_edge import __version__
from gmme_edge.bundle.bundle import INPUT, OUTPUTS
from gmme_edge.errors import PlatformError, UsageError, translate
from gmme_edge.installation import pip_command
from gmme_edge.models.eat import EAT, peak_scale
from gmme_exporters.graphs.names import name_after_modules

MIN_OPSET, MAX_OPSET, DEFAULT_OPSET = 13, 22, 18
_FIRST_DYNAMO_OPSET = 18


class ExportGraph(nn.Module):
    """`EAT` with peak scaling in front: ``(B, N)`` → logits ``(B, classes)``[, embedding]."""

    def __init__(self, model: EAT, embedding: bool) -> None:
        super().__init__()
        self.model, self.embedding = model, embedding

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        embedding = self.model.embed(peak_scale(waveform).unsqueeze(1))
        logits: Tensor = self.model.classify(embedding)
        return (logits, embedding) if self.embedding else (logits,)


def export_onnx(model: EAT, path: Path, opset: int = DEFAULT_OPSET, embedding: bool = True) -> None:
    """Write `model` with a dynamic batch axis.

    Opset 18 and later go through torch's exporter; older ones (TensorRT 8.x) through its
    TorchScript exporter, which at 16 and below also writes LayerNorm out as plain operators.

    Raises:
        UsageError: an opset outside 13–22. From 23 on torch writes ``Attention`` nodes, which
            TensorRT-RTX does not run in float32.
        PlatformError: the exporter fixed the batch size, or does not know an operation.
    """
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise UsageError(
            f"Opset {opset}.",
            f"{MIN_OPSET} to {MAX_OPSET}; 16 suits TensorRT 8, {DEFAULT_OPSET} everything newer.",
        )
    # Two clips: with one, torch specialises the batch axis to 1 without saying so.
    example = (torch.zeros(2, model.spec.n_samples),)
    outputs = OUTPUTS[: 2 if embedding else 1]
    trace(ExportGraph(model, embedding), example, Names((INPUT,), outputs), path, opset)


@dataclass(frozen=True)
class Names:
    """What a graph's inputs and outputs are called."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def trace(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    names: Names,
    path: Path,
    opset: int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module as an ONNX graph, without what only its exporter wants to know.

    Args:
        example: inputs; where their first axis is 2, it stands for any batch.
        metadata: notes that the graph carries.

    Raises:
        PlatformError: the exporter fixed the batch size, or does not know an operation.
    """
    try:
        with _quiet():
            _write(graph.eval(), example, names, path, opset)
    except torch.onnx.OnnxExporterError as error:
        raise translate(error) or PlatformError(
            f"torch {torch.__version__} cannot export this network.",
            "a torch whose exporter knows its operations.",
            f"{pip_command('install', '--upgrade', 'torch')}; torch 2.6 exports lowered networks "
            "alone, so leave --no-lowering and --target generic out there.",
        ) from error
    proto = onnx.load(path)
    if _any_batch(example):
        _name_batch_axis(proto)
    name_after_modules(proto)
    _strip_traces(proto)
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    proto.producer_name, proto.producer_version = "gmme-edge", __version__
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _any_batch(example: tuple[Tensor, ...]) -> bool:
    return len(example[0]) > 1


def _write(
    graph: nn.Module, example: tuple[Tensor, ...], names: Names, path: Path, opset: int
) -> None:
    common: dict[str, Any] = {
        "input_names": list(names.inputs),
        "output_names": list(names.outputs),
        "opset_version": opset,
    }
    if opset < _FIRST_DYNAMO_OPSET:
        every = (*names.inputs, *names.outputs)
        axes = {name: {0: "batch"} for name in every} if _any_batch(example) else None
        torch.onnx.export(graph, example, path, **common, dynamo=False, dynamic_axes=axes)
        return
    batch = {0: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        graph,
        example,
        path,
        **common,
        dynamo=True,
        optimize=True,  # torch 2.6 does not by itself, and leaves biases unfolded
        external_data=False,
        verbose=False,
        dynamic_shapes=(batch,) * len(example) if _any_batch(example) else None,
    )


def _name_batch_axis(proto: ModelProto) -> None:
    """Call the first axis of every input and output ``batch``; it must be dynamic."""
    symbols = set()
    for value in (*proto.graph.input, *proto.graph.output):
        axis = value.type.tensor_type.shape.dim[0]
        if not axis.dim_param:
            raise PlatformError(
                f"torch {torch.__version__} exported {value.name} with a fixed batch of "
                f"{axis.dim_value}.",
                "a dynamic batch.",
                "report this with the torch version.",
            )
        symbols.add(axis.dim_param)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in symbols:
                axis.dim_param = "batch"


def _strip_traces(proto: ModelProto) -> None:
    """Drop what torch notes for debugging: a Python stack trace per node, with absolute paths."""
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (proto, graph, *graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' notes to their own developers; failures are exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
