"""8-bit integers as Q/DQ graphs, in the two dialects that engines insist on.

``int8-ort``        unsigned activations, signed per-channel weights, int32 biases: what ONNX
                    Runtime turns into integer kernels. TensorRT refuses it.
``int8-tensorrt``   everything symmetric and signed, Q/DQ on weights too, float biases, outputs
                    of weighted layers left in floating point: what TensorRT's parser accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gmme_edge.errors import require
from gmme_exporters.graph import front_convs, nodes_before_first_conv

Flavour = Literal["int8-ort", "int8-tensorrt"]
Ranges = Mapping[str, tuple[float, float]]

# Add, Mul, LeakyRelu and Sigmoid have integer kernels too. Quantizing them made the networks no
# faster, and less accurate (`docs/precision.md`).
OP_TYPES = ("Conv", "Gemm", "MatMul")


def prepare_int8(source: Path, target: Path) -> None:
    """Fold constants and infer shapes, as ONNX Runtime's quantizer needs; still float32."""
    preprocess = require("onnxruntime.quantization.shape_inference", "quantize to INT8")
    preprocess.quant_pre_process(source, target, skip_symbolic_shape=True)


def quantize_int8(prepared: Path, ranges: Ranges, flavour: Flavour, target: Path) -> None:
    """Write the Q/DQ graph of a prepared float32 graph.

    Args:
        prepared: from `prepare_int8`.
        ranges: tensor name → (lowest, highest), from calibration on `prepared`.
    """
    onnx = require("onnx", "quantize to INT8")
    quantization = require("onnxruntime.quantization", "quantize to INT8")
    proto = onnx.load(prepared)
    for_tensorrt = flavour == "int8-tensorrt"
    excluded = [*nodes_before_first_conv(proto), *front_convs(proto)]
    quantizer = quantization.qdq_quantizer.QDQQuantizer(
        proto,
        per_channel=True,
        # 7-bit weights: on CPUs without VNNI, 8-bit ones saturate the 16-bit accumulator.
        reduce_range=not for_tensorrt,
        weight_qType=quantization.QuantType.QInt8,
        activation_qType=quantization.QuantType.QInt8
        if for_tensorrt
        else quantization.QuantType.QUInt8,
        tensors_range=_tensors_data(ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=excluded,
        op_types_to_quantize=list(OP_TYPES),
        extra_options=_tensorrt_options() if for_tensorrt else {},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target), False)
    onnx.checker.check_model(str(target))


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


def _tensors_data(ranges: Ranges) -> Any:  # noqa: ANN401 - onnxruntime's TensorsData
    calibrate = require("onnxruntime.quantization.calibrate", "quantize to INT8")
    as_arrays = {
        name: (np.array(low, np.float32), np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    return calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, as_arrays)
