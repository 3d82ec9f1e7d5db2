"""8-bit integers as Q/DQ graphs, in the two dialects that engines insist on.

``int8-ort``        unsigned activations, signed per-channel weights, int32 biases, outputs of
                    products left in floating point: what ONNX Runtime turns into integer
                    kernels. TensorRT refuses it.
``int8-tensorrt``   everything symmetric and signed, Q/DQ on weights too, float biases, outputs
                    of weighted layers left in floating point: what TensorRT's parser accepts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from gmme_edge.blocks import Layer, block_of, choose_blocks
from gmme_edge.bundle.precisions import TENSORRT, runs_on
from gmme_exporters.graphs.queries import (
    WEIGHTED,
    front_convs,
    nodes_before_first_conv,
    weighted_layers,
)
from gmme_exporters.int8.shapes import move_shapes

Int8Precision = Literal["int8-ort", "int8-tensorrt"]
Ranges = Mapping[str, tuple[float, float]]
Corrections = Mapping[str, NDArray[np.float32]]

# Add, Mul, LeakyRelu and Sigmoid have integer kernels too. Quantizing them made the networks no
# faster, and less accurate (`docs/explanation/precision.md`).
OP_TYPES = WEIGHTED

# Integer products write floats as fast as integers (MatMulIntegerToFloat, QGemm), and unrounded.
# Convolutions have no such kernel.
_ORT_OPTIONS = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}


def prepare_int8(source: Path, out: Path) -> None:
    """Fold constants and infer shapes, as ONNX Runtime's quantizer needs; still float32."""
    quant_pre_process(source, out, skip_symbolic_shape=True)


@dataclass(frozen=True, eq=False)
class Refinement:
    """How a Q/DQ graph departs from one in which everything is quantized.

    Attributes:
        floats: the layers that stay in floating point, by name.
        corrections: per layer what is added to its bias, shape (output channels,).
        record: how these were found; goes into the manifest.
    """

    floats: tuple[str, ...] = ()
    corrections: Corrections = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Q/DQ graphs of one prepared graph, which differ in floating-point layers and biases.

    Attributes:
        prepared: the float32 graph, from `prepare_int8`.
        ranges: tensor name → (lowest, highest), from calibration on `prepared`.
    """

    prepared: Path
    ranges: Ranges
    precision: Int8Precision

    @property
    def for_tensorrt(self) -> bool:
        """Whether it writes TensorRT's dialect, or ONNX Runtime's."""
        return runs_on(self.precision, TENSORRT)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer with weights, in the graph's order."""
        return weighted_layers(self._load())

    @cached_property
    def front(self) -> tuple[str, ...]:
        """The layers up to the second anti-alias filter, by name."""
        nodes = set(front_convs(self._load()))
        return tuple(layer.name for layer in self.layers if nodes & set(layer.nodes))

    def layers_of(self, blocks: str) -> tuple[str, ...]:
        """The layers of comma-separated blocks, by name; ``front`` and ``none`` as in recipes.

        Raises:
            UsageError: a block that the graph hasn't got.
        """
        front = {block_of(name) for name in self.front}
        chosen = choose_blocks(
            blocks, {layer.block for layer in self.layers}, front, "--int8-float"
        )
        return tuple(layer.name for layer in self.layers if layer.block in chosen)

    def share_of(self, names: Collection[str]) -> float:
        """The share of the multiply-adds that the layers of these names do."""
        macs = sum(layer.macs for layer in self.layers if layer.name in names)
        return macs / sum(layer.macs for layer in self.layers)

    def write(
        self, out: Path, floats: Collection[str] = (), corrections: Corrections | None = None
    ) -> None:
        """Write the Q/DQ graph.

        Args:
            floats: the layers that stay in floating point, by name. What comes before the first
                convolution always does.
            corrections: per layer what is added to its bias, shape (output channels,).
        """
        proto = self._load()
        for layer in self.layers:
            if corrections and layer.name in corrections:
                add_to_bias(proto, layer, corrections[layer.name], "corrected_bias")
        nodes = [node for layer in self.layers if layer.name in floats for node in layer.nodes]
        nodes += self._products_in_float(proto, floats)
        _write_qdq(proto, self.ranges, self.for_tensorrt, out, nodes)

    def _products_in_float(self, proto: ModelProto, floats: Collection[str]) -> list[str]:
        """Attention's products have no weights: they stay where all layers of their block do.

        For ONNX Runtime they always do: its softmax in 8 bits takes longer than they save.
        """
        layers = self.layers
        quantized = {layer.block for layer in layers if layer.name not in floats}
        weighted = {node for layer in layers for node in layer.nodes}
        return [
            node.name
            for node in proto.graph.node
            if node.op_type in WEIGHTED
            and node.name not in weighted
            and (not self.for_tensorrt or block_of(node.name) not in quantized)
        ]

    def _load(self) -> ModelProto:
        return onnx.load(self.prepared)


def _write_qdq(
    proto: ModelProto, ranges: Ranges, for_tensorrt: bool, out: Path, floats: Collection[str]
) -> None:
    quantizer = QDQQuantizer(
        proto,
        per_channel=True,
        # 7-bit weights: on CPUs without VNNI, 8-bit ones saturate the 16-bit accumulator.
        reduce_range=not for_tensorrt,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if for_tensorrt else QuantType.QUInt8,
        tensors_range=_tensors_data(ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=[*nodes_before_first_conv(proto), *floats],
        op_types_to_quantize=list(OP_TYPES),
        extra_options=_tensorrt_options() if for_tensorrt else _ORT_OPTIONS,
    )
    quantizer.quantize_model()
    if not for_tensorrt:
        move_shapes(quantizer.model.model)
    quantizer.model.save_model_to_file(str(out), False)
    onnx.checker.check_model(str(out))


def add_to_bias(proto: ModelProto, layer: Layer, shift: NDArray[Any], name: str) -> None:
    """Give a layer's convolutions a bias of their own, called `name`, `shift` above the old one."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = [node for node in proto.graph.node if node.name in layer.nodes]
    old = [constants[name] for name in nodes[0].input[2:]]
    values = np.add(shift, numpy_helper.to_array(old[0]) if old else 0, dtype=np.float32)
    own = f"{layer.name}.{name}"
    if own in constants:
        proto.graph.initializer.remove(constants[own])
    proto.graph.initializer.append(numpy_helper.from_array(values, own))
    for node in nodes:
        del node.input[2:]
        node.input.append(own)
    if old and not any(old[0].name in node.input for node in proto.graph.node):
        proto.graph.initializer.remove(old[0])


def _tensorrt_options() -> dict[str, Any]:
    """The settings under which TensorRT's parser takes ONNX Runtime's Q/DQ graphs."""
    return {
        "QuantizeBias": False,
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": False,
        "OpTypesToExcludeOutputQuantization": list(OP_TYPES),
        "QDQDisableWeightAdjustForInt32Bias": True,
    }


def _tensors_data(ranges: Ranges) -> TensorsData:
    as_arrays = {
        name: (np.array(low, np.float32), np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    return TensorsData(CalibrationMethod.MinMax, as_arrays)
