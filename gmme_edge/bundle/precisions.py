"""What is known of each precision: the one table that everything else asks.

A *precision* names a file of a bundle, such as ``int8-ort``, or another arithmetic for one:
``bf16`` computes the file of ``fp32`` in bfloat16. Users ask for a *family*, such as ``int8``: one
or several precisions, of which every engine has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmme_edge.errors import UsageError

ONNX_RUNTIME, TENSORRT = "onnxruntime", "tensorrt"
OPENVINO, OPENVINO_GPU = "openvino", "openvino-gpu"
REFERENCE = "fp32"


@dataclass(frozen=True)
class Precision:
    """One row.

    Attributes:
        family: what ``--precision`` calls it.
        limit: the largest error of a logit against torch, relative to the largest logit.
        repeat_limit: the same, against what this very graph gave when it was exported.
        engines: the engines that run it with kernels of its own.
        lowering: the target that its graph is always shaped for; "" for the one asked for.
        graph: the precision whose file it computes; "" for a file of its own.
        builder_flag: the TensorRT builder's flag that allows it; "" where none is needed.
    """

    name: str
    family: str
    limit: float
    repeat_limit: float
    engines: tuple[str, ...] = (ONNX_RUNTIME, TENSORRT)
    lowering: str = ""
    graph: str = ""
    builder_flag: str = ""

    @property
    def file_name(self) -> str:
        return f"model.{self.name}.onnx"

    @property
    def is_int8(self) -> bool:
        return self.family == "int8"


# Limits: 1e-3 leaves room for TensorFloat-32 on a GPU (a CPU stays near 1e-6). Against torch, the
# limit of INT8 only catches a broken export, since what INT8 costs is measured as accuracy.
#
# Against itself a graph gave, on ONNX Runtime 1.20, 1.23 and 1.32, 1 to 4 threads and batches of 1
# and 4 (AVX2): fp32 the same to 3.4e-7, fp16 to 3.3e-4, INT8 to the last bit. With other kernels
# (graph optimisations off, so INT8's steps are simulated in floats): 1.0e-6, 3.3e-4 and 3.6e-2,
# since a value on the edge of a step falls to its other side. The limits are 3 to 30 times that.
#
# bfloat16 keeps 8 bits where fp16 keeps 11, so its limit is 8 times that of fp16, rounded down.
_ROWS = (
    Precision(
        "fp32",
        "fp32",
        limit=1e-3,
        repeat_limit=1e-3,
        engines=(ONNX_RUNTIME, TENSORRT, OPENVINO, OPENVINO_GPU),
    ),
    Precision(
        "fp16",
        "fp16",
        limit=3e-2,
        repeat_limit=1e-2,
        engines=(ONNX_RUNTIME, TENSORRT, OPENVINO_GPU),
        builder_flag="FP16",
    ),
    Precision("bf16", "bf16", limit=0.2, repeat_limit=0.2, engines=(OPENVINO,), graph="fp32"),
    Precision(
        "int8-ort",
        "int8",
        limit=1.0,
        repeat_limit=0.1,
        engines=(ONNX_RUNTIME, OPENVINO, OPENVINO_GPU),
    ),
    Precision(
        "int8-tensorrt",
        "int8",
        limit=1.0,
        repeat_limit=0.1,
        engines=(TENSORRT,),
        lowering="tensorrt",
        builder_flag="INT8",
    ),
)
PRECISIONS = {row.name: row for row in _ROWS}
_STORED = tuple(row for row in _ROWS if not row.graph)
FAMILIES = tuple(dict.fromkeys(row.family for row in _STORED))
"""Of what can be exported: precisions with a file of their own."""


def find_precision(name: str) -> Precision:
    """The row of a precision; raises `UsageError` naming all of them."""
    if name not in PRECISIONS:
        raise UsageError(f"Unknown precision {name!r}.", f"one of {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def runs_on(precision: str, engine: str) -> bool:
    """Whether `engine` has kernels for a precision; False for one that is not in the table."""
    return precision in PRECISIONS and engine in PRECISIONS[precision].engines


def is_int8(precision: str) -> bool:
    """Whether it computes in 8 bits; False for one that is not in the table."""
    return precision in PRECISIONS and PRECISIONS[precision].is_int8


def graph_of(precision: str) -> str:
    """The precision whose file it computes: mostly its own."""
    return (PRECISIONS[precision].graph if precision in PRECISIONS else "") or precision


def precisions_of(engine: str) -> tuple[str, ...]:
    """All that `engine` has kernels for."""
    return tuple(name for name in PRECISIONS if runs_on(name, engine))


def resolve_family(name: str, engine: str) -> str:
    """``int8`` → the precision of that family that `engine` runs; other names stay."""
    family = (row.name for row in _ROWS if row.family == name and engine in row.engines)
    return next(family, name)


def expand_precisions(names: str) -> tuple[str, ...]:
    """``"fp32,int8"`` → its precisions, each once: a family stands for all of its own.

    Raises:
        UsageError: an unknown name, or none.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    chosen = [row.name for name in wanted for row in _STORED if name in (row.family, row.name)]
    known = (*FAMILIES, *(row.name for row in _STORED if row.name not in FAMILIES))
    if not wanted or any(name not in known for name in wanted):
        raise UsageError(
            f"Unknown precision {names!r}.", f"a comma-separated list of {', '.join(known)}."
        )
    return tuple(dict.fromkeys(chosen))


def in_table_order(names: Iterable[str]) -> tuple[str, ...]:
    """From the most exact to the coarsest; names that are not in the table come last."""
    order: Sequence[str] = tuple(PRECISIONS)
    return tuple(sorted(names, key=lambda n: order.index(n) if n in order else len(order)))
