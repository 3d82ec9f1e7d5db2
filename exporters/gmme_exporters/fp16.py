"""Half precision: weights and arithmetic in float16, inputs and outputs in float32."""

from __future__ import annotations

import warnings
from pathlib import Path

from gmme_exporters.graph import nodes_before_first_conv

from gmme_edge.errors import require


def convert_fp16(source: Path, target: Path) -> None:
    """Write the float16 form of the float32 graph `source`.

    Uses ONNX Runtime's converter with its own list of operators that stay in float32; peak
    scaling stays too, since a quiet recording's samples are denormal in float16.
    """
    onnx = require("onnx", "convert to FP16")
    converter = require("onnxruntime.transformers.float16", "convert to FP16")
    proto = onnx.load(source)
    with warnings.catch_warnings():
        # Weights below float16's smallest number become 0 or that number; parity is checked.
        warnings.filterwarnings("ignore", message="the float32 number")
        converted = converter.convert_float_to_float16(
            proto, keep_io_types=True, node_block_list=nodes_before_first_conv(proto)
        )
    onnx.checker.check_model(converted)
    onnx.save(converted, target)
