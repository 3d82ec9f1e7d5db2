"""The OpenVINO backends: ``openvino`` (x86 CPUs) and ``openvino-gpu`` (Intel's GPUs).

OpenVINO would choose bfloat16 by itself on a CPU that has it, and float32 where bfloat16 was asked
for on one that has not. Here the precision is always named, and what OpenVINO made of it is read
back: a session computes what its `precision` says, or does not open.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, OUTPUTS, Bundle
from gmme_edge.bundle.precisions import PRECISIONS, in_table_order, precisions_of
from gmme_edge.device.cpu import check_threads, default_threads
from gmme_edge.errors import BundleError, PlatformError, UsageError, require
from gmme_edge.installation import pip_command
from gmme_edge.runtime.fork import ForkGuard
from gmme_edge.runtime.session import Outputs, check_batch, check_graph, check_outputs
from gmme_edge.runtime.signal_stack import kept_signal_stack

if TYPE_CHECKING:
    from gmme_edge.runtime.backends import Request

DEVICES = {"openvino": "CPU", "openvino-gpu": "GPU"}
ARITHMETIC = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8-ort": "f32"}
"""OpenVINO's name of each precision; in INT8, of the layers that no Q/DQ pair surrounds."""

_CAPABILITY = {"bf16": "BF16", "fp16": "FP16"}
_NEEDS = {
    "CPU": ("a CPU that this build of OpenVINO serves.", "use --backend ort-cpu."),
    "GPU": (
        "an Intel GPU with its driver and OpenCL runtime.",
        "install Intel's compute runtime (intel-opencl-icd), or use --backend openvino.",
    ),
}
_PURPOSE = "run the openvino backends"
_NO_MEMORY = ("bad_alloc", "out of memory", "Failed to allocate")
_TOO_NEW = ("No conversion rule found",)
_KEPT: dict[type, object] = {}  # a core for good, so that its plugins stay loaded: see signal_stack


def open_session(request: Request) -> OpenVinoSession:
    """`backends.Opener`'s part."""
    return OpenVinoSession(request.bundle, request.backend, request.precision, request.threads)


def check(backend: str) -> None:
    """Raise unless OpenVINO is installed and finds the backend's device.

    Raises:
        UsageError: no OpenVINO backend of this name.
        MissingDependencyError: no openvino.
        PlatformError: OpenVINO finds no such device here.
    """
    _open_core(backend)


def supports(backend: str, precision: str) -> bool:
    """`backends.Opener`'s part: whether the device here has this arithmetic."""
    wanted = _CAPABILITY.get(precision)
    core, _ = _open_core(backend)
    return wanted is None or wanted in _capabilities(core, DEVICES[backend])


class OpenVinoSession:
    """One precision of a bundle on OpenVINO; the interface is `session.Session`.

    Args:
        threads: CPU threads of one call; None lets OpenVINO choose. A GPU ignores it.

    Raises:
        UsageError: `threads` below 1, a precision that this backend has no kernels for, or one
            that the bundle lacks.
        BundleError: the file changed since the export, or is no such graph.
        MissingDependencyError: no openvino.
        PlatformError: no such device, or it lacks the precision's arithmetic.
    """

    def __init__(
        self, bundle: Bundle, backend: str, precision: str, threads: int | None = None
    ) -> None:
        check_threads(threads)
        self.backend, self.precision = backend, precision
        spec = bundle.manifest.model
        self._spec, self.n_samples = spec, spec.n_samples
        core, library = _open_core(backend)
        if precision not in precisions_of(backend):
            raise UsageError(
                f"{precision} on {backend}.",
                f"one of {', '.join(in_table_order(precisions_of(backend)))}.",
            )
        name = f"{bundle.path}'s {precision} graph"
        model = _read(core, library, bundle, precision, name)
        inputs, outputs = ([_tensor(e) for e in each] for each in (model.inputs, model.outputs))
        self._outputs = check_graph(inputs, outputs, spec, name)
        if PRECISIONS[precision].is_int8:
            _leave_sums_unrounded(model)
        compiled = _compile(core, model, backend, precision, threads, name)
        self._request: Any = compiled.create_infer_request()
        self._guard = ForkGuard(compiled, self._request)

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``.

        Raises:
            UsageError: another shape, or the session is closed.
            PlatformError: the engine failed, for example for want of memory.
        """
        self._guard.check()
        batch = check_batch(waveform, self.n_samples)
        try:
            self._request.infer({INPUT: batch}, share_inputs=True)
            outputs = {
                # A copy: the engine writes its next outputs into the same memory.
                name: np.array(self._request.get_tensor(name).data, dtype=np.float32)
                for name in self._outputs
            }
        except RuntimeError as error:
            raise PlatformError(
                f"{self.backend} failed on a batch of {len(batch)}: {error}",
                fix="use a smaller batch if memory ran out.",
            ) from error
        return check_outputs(outputs, len(batch), self._spec, f"{self.precision} on {self.backend}")

    def close(self) -> None:
        """Free the session; calling it twice does no harm."""
        self._request = None
        self._guard.release()


def open_graph(
    path: Path, precision: str, threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """An ONNX file that is in no bundle, on the CPU: ``(batch, samples)`` → logits."""
    core, _ = _open_core("openvino")
    model = core.read_model(str(path))
    if PRECISIONS[precision].is_int8:
        _leave_sums_unrounded(model)
    compiled = _compile(core, model, "openvino", precision, threads, str(path))
    request = compiled.create_infer_request()

    def run(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer({INPUT: waveform}, share_inputs=True)
        return np.array(request.get_tensor(OUTPUTS[0]).data, dtype=np.float32)

    return run


@dataclass
class _Tensor:
    """`session.TensorFacts`, of OpenVINO's own description."""

    name: str
    shape: list[object]
    type: str


def _tensor(port: Any) -> _Tensor:  # noqa: ANN401 - an engine's, without stubs
    sizes = [d.get_length() if d.is_static else None for d in port.get_partial_shape()]
    kind = port.get_element_type().get_type_name()
    return _Tensor(port.get_any_name(), sizes, "tensor(float)" if kind == "f32" else kind)


def _import_openvino() -> ModuleType:
    """Without its telemetry, which wants a home folder to write to; there is a stub for it."""
    telemetry = "openvino_telemetry"
    if telemetry in sys.modules:  # the program's own choice
        return require("openvino", _PURPOSE)
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        return require("openvino", _PURPOSE)
    finally:
        del sys.modules[telemetry]


def _open_core(backend: str) -> tuple[Any, ModuleType]:
    if backend not in DEVICES:
        raise UsageError(f"Unknown OpenVINO backend {backend!r}.", f"one of {list(DEVICES)}.")
    library = _import_openvino()
    with kept_signal_stack():  # the first question loads the plugins
        core, device = library.Core(), DEVICES[backend]
        found = core.available_devices
    _KEPT.setdefault(type(core), core)
    if not any(each.partition(".")[0] == device for each in found):
        raise PlatformError(
            f"OpenVINO {library.get_version()} finds no {device} here; it finds "
            f"{', '.join(found) or 'nothing'}.",
            *_NEEDS[device],
        )
    return core, library


def _capabilities(core: Any, device: str) -> list[str]:  # noqa: ANN401 - no stubs
    return list(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))


def _read(
    core: Any,  # noqa: ANN401 - no stubs
    library: ModuleType,
    bundle: Bundle,
    precision: str,
    name: str,
) -> Any:  # noqa: ANN401 - no stubs
    """The graph, from a folder of our own, which holds nothing but what was checked."""
    with tempfile.TemporaryDirectory() as folder:
        path = bundle.copy_model(precision, Path(folder))
        try:
            return core.read_model(str(path))
        except RuntimeError as error:
            got = f"OpenVINO {library.get_version()} cannot read {name}: {_reason(error)}"
            if any(text in str(error) for text in _TOO_NEW):
                raise PlatformError(
                    got,
                    "an openvino that knows the graph's opset and operators.",
                    pip_command("install", "--upgrade", "openvino") + ", or a lower --opset.",
                ) from error
            raise BundleError(
                got, "an ONNX graph that `gmme-edge export` wrote.", "export it again."
            ) from error


def _leave_sums_unrounded(model: Any) -> None:  # noqa: ANN401 - no stubs
    """Take away the rounding of a sum with a table, such as that of the position of each token.

        x ─▶ Add(table) ─▶ FakeQuantize ─▶ … ─▶ Multiply ─▶ …    becomes    x ─▶ Add(table) ─▶ …

    OpenVINO makes a zero point per token of it, and its own MatMul then refuses that (2026.4).
    What follows computes in float32 up to the next rounding: one of the layers of the encoder.
    """
    for rounding in model.get_ordered_ops():
        if rounding.get_type_name() != "FakeQuantize":
            continue
        add = rounding.input_value(0).get_node()
        if add.get_type_name() != "Add" or not any(map(_is_table, add.input_values())):
            continue
        end = rounding
        while end.get_type_name() != "Multiply":  # the last step of its DequantizeLinear
            (target,) = end.output(0).get_target_inputs()
            end = target.get_node()
        for target in end.output(0).get_target_inputs():
            target.replace_source_output(add.output(0))


def _is_table(value: Any) -> bool:  # noqa: ANN401 - no stubs
    """Whether it is a constant that differs along two axes or more."""
    node = value.get_node()
    if node.get_type_name() != "Constant":
        return False
    return bool(sum(size > 1 for size in node.get_shape()) > 1)


def _compile(
    core: Any,  # noqa: ANN401 - no stubs
    model: Any,  # noqa: ANN401 - no stubs
    backend: str,
    precision: str,
    threads: int | None,
    name: str,
) -> Any:  # noqa: ANN401 - no stubs
    device, wanted = DEVICES[backend], ARITHMETIC[precision]
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": wanted, "NUM_STREAMS": 1}
    if device == "CPU":
        # Pinned threads of several sessions or processes would all wait for the same cores.
        options["ENABLE_CPU_PINNING"] = False
        if count := threads or default_threads():
            options["INFERENCE_NUM_THREADS"] = count
    try:
        compiled = core.compile_model(model, device, options)
    except RuntimeError as error:
        memory = any(text in str(error) for text in _NO_MEMORY)
        raise PlatformError(
            f"OpenVINO cannot compile {name} for {device}: {_reason(error)}",
            "enough memory for the network." if memory else "a device that runs its operators.",
            "free memory." if memory else "use --backend ort-cpu.",
        ) from error
    computes = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if computes != wanted:
        raise PlatformError(
            f"OpenVINO computes {name} in {computes} on this {device}, which was asked for "
            f"{wanted}.",
            f"a {device} with {wanted} arithmetic (it has "
            f"{', '.join(_capabilities(core, device))}).",
            "use --precision fp32.",
        )
    return compiled


def _reason(error: RuntimeError) -> str:
    """OpenVINO's message without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("Exception from"))
