"""What `config.pbtxt` says of one model: its tensors, batches, instances, threads and warm-up.

Facts on the fields: Triton's `model_config.proto`, against which the tests check every text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gmme_edge.bundle.bundle import INPUT, OUTPUTS

KINDS = ("cpu", "gpu", "tensorrt", "python")
CONFIG, LABELS, WARMUP = "config.pbtxt", "labels.txt", "waveform.f32"
_ENGINE_CACHE = "/var/cache/gmme-edge-engines"
# The library chooses kernels in 16 bits only where it is told that it may.
_MODES = {"fp32": "FP32", "fp16": "FP16", "int8-tensorrt": "INT8"}


@dataclass(frozen=True)
class TritonOptions:
    """How a server is to run a model.

    Attributes:
        kinds: of `KINDS`, each a model of its own.
        largest_batch: of windows that wait together.
        instances: copies of the model; each runs one batch at a time.
        threads: of one instance on a CPU.
        delay_us: how long a window waits for others, in microseconds.
    """

    kinds: tuple[str, ...] = KINDS[:3]
    largest_batch: int = 8
    instances: int = 1
    threads: int = 1
    delay_us: int = 2000


@dataclass(frozen=True)
class Variant:
    """One model of the repository: a graph of a precision, or an engine, and what runs it."""

    name: str
    kind: str
    precision: str
    n_samples: int
    outputs: Mapping[str, int]
    is_engine: bool = False


def config_text(variant: Variant, options: TritonOptions) -> str:
    """The whole `config.pbtxt`."""
    parts = [
        f'name: "{variant.name}"',
        _engine(variant),
        f"max_batch_size: {options.largest_batch}",
        f'input [{{ name: "{INPUT}" data_type: TYPE_FP32 dims: [ {variant.n_samples} ] }}]',
        _outputs(variant.outputs),
        f"dynamic_batching {{ max_queue_delay_microseconds: {options.delay_us} }}",
        f"instance_group [{{ count: {options.instances} kind: {_place(variant)} }}]",
        _tuning(variant, options),
        "version_policy { latest { num_versions: 1 } }",
        *(_warmup(size, variant.n_samples) for size in range(1, options.largest_batch + 1)),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _engine(variant: Variant) -> str:
    if variant.kind == "python":
        return 'backend: "python"'
    if variant.is_engine:
        return 'platform: "tensorrt_plan"'
    return 'backend: "onnxruntime"\ndefault_model_filename: "model.onnx"'


def _place(variant: Variant) -> str:
    return "KIND_CPU" if variant.kind in ("cpu", "python") else "KIND_GPU"


def _outputs(outputs: Mapping[str, int]) -> str:
    told = {OUTPUTS[0]: f' label_filename: "{LABELS}"'}
    rows = (
        f'  {{ name: "{name}" data_type: TYPE_FP32 dims: [ {width} ]{told.get(name, "")} }}'
        for name, width in outputs.items()
    )
    return "output [\n" + ",\n".join(rows) + "\n]"


def _tuning(variant: Variant, options: TritonOptions) -> str:
    """Threads, and what TensorRT builds its engine for."""
    if variant.is_engine:
        return ""
    if variant.kind == "python":
        stated = {"precision": variant.precision, "threads": options.threads}
        return "\n".join(_parameter(name, value) for name, value in stated.items())
    counts = {"intra_op_thread_count": options.threads, "inter_op_thread_count": 1}
    threads = "\n".join(_parameter(name, value) for name, value in counts.items())
    return _accelerator(variant, options) if variant.kind == "tensorrt" else threads


def _parameter(name: str, value: object) -> str:
    return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}'


def _accelerator(variant: Variant, options: TritonOptions) -> str:
    shape = f"{INPUT}:{{}}x{variant.n_samples}"
    stated = {
        "precision_mode": _MODES[variant.precision],
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": _ENGINE_CACHE,
        "trt_profile_min_shapes": shape.format(1),
        "trt_profile_opt_shapes": shape.format(options.largest_batch),
        "trt_profile_max_shapes": shape.format(options.largest_batch),
    }
    rows = "\n".join(f'    parameters {{ key: "{k}" value: "{v}" }}' for k, v in stated.items())
    return (
        "optimization { execution_accelerators {\n"
        f'  gpu_execution_accelerator [{{\n    name: "tensorrt"\n{rows}\n  }}]\n}} }}'
    )


def _warmup(size: int, n_samples: int) -> str:
    """One call before the model is ready, with a recording of the golden vectors."""
    return (
        f'model_warmup [{{ name: "batch {size}" batch_size: {size} inputs {{ key: "{INPUT}" '
        f"value: {{ data_type: TYPE_FP32 dims: [ {n_samples} ] "
        f'input_data_file: "{WARMUP}" }} }} }}]'
    )
