"""TensorRT."""

import ctypes
import hashlib
import hmac
import json
import platform
import signal
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from gmme_exporters.board.script.device import Cuda
from gmme_exporters.board.script.folder import (
    FOLDER,
    INPUT,
    Failure,
    Manifest,
    own_key,
    say,
    sources,
    write_atomically,
)


class Board:
    """TensorRT's module, its logger and the GPU."""

    backend, precisions = "tensorrt", ("fp32", "fp16", "int8-tensorrt")

    def __init__(self) -> None:
        self.trt = load_tensorrt()
        self.logger = make_logger(self.trt)
        self.cuda = Cuda()

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def libraries(self) -> Dict[str, str]:
        return {"tensorrt": self.version}

    @property
    def gpus(self) -> List[Dict[str, str]]:
        cuda = self.cuda
        return [{"name": cuda.gpu_name, "compute_capability": cuda.compute_capability}]

    def open(self, manifest: Manifest, precision: str, batch: int) -> "Network":
        return Network(self, engine(self, manifest, precision, batch), batch)


def load_tensorrt() -> Any:
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise Failure(
            4,
            f"Python {platform.python_version()} cannot load tensorrt: {error}",
            "run the system's python3, not a virtual environment's; on a Jetson: "
            "sudo apt install python3-libnvinfer",
        ) from error
    return tensorrt


def make_logger(trt: Any) -> Any:
    """A logger that keeps errors in `lines`."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: List[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.lines.append(" ".join(message.split()))

        def reason(self) -> str:
            return " ".join(dict.fromkeys(self.lines)) or "it gave no reason"

    return Logger()


def build(board: Board, manifest: Manifest, precision: str, batch: int) -> bytes:
    """A serialized engine for batches of exactly `batch` clips."""
    trt, logger = board.trt, board.logger
    graph = sources(manifest, precision)[0]
    if int(board.version.partition(".")[0]) == 8 and graph["opset"] > 17:
        raise Failure(  # TensorRT 8 ignores ReduceMean's axes where they are an input, silently
            7,
            f"{graph['path']} has opset {graph['opset']}; TensorRT 8 would miscompute it.",
            "export again with --opset 16.",
        )
    del logger.lines[:]
    builder = trt.Builder(logger)
    flags = trt.NetworkDefinitionCreationFlag
    names = [name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(flags, name)]
    network = builder.create_network(sum(1 << int(getattr(flags, name)) for name in names))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(FOLDER / graph["path"])):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise Failure(
            7,
            f"TensorRT {board.version} cannot parse {graph['path']}: {errors or logger.reason()}",
            "export again with --opset 16.",
        )
    config = builder.create_builder_config()
    weak = {"fp16": "FP16", "int8-tensorrt": "INT8"}.get(precision, "")
    if weak and "STRONGLY_TYPED" not in names and hasattr(trt.BuilderFlag, weak):
        config.set_flag(getattr(trt.BuilderFlag, weak))
    profile = builder.create_optimization_profile()
    shape = (batch, manifest["audio"]["n_samples"])
    profile.set_shape(INPUT, shape, shape, shape)
    config.add_optimization_profile(profile)
    plan = interruptible(lambda: builder.build_serialized_network(network, config))
    if plan is None:
        raise Failure(7, f"TensorRT {board.version} cannot build {precision}: {logger.reason()}")
    return bytes(plan)


def interruptible(work: Any) -> Any:
    """Run one long call into C++, during which Python's own handling of Ctrl-C would wait."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a shell may have had it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return work()
    finally:
        signal.signal(signal.SIGINT, before)


def engine_path(precision: str, batch: int) -> Path:
    return FOLDER / "engines" / f"model.{precision}.batch{batch}.engine"


def engine(board: Board, manifest: Manifest, precision: str, batch: int) -> bytes:
    """The engine in engines/, if this user built it here of these graphs; or a new one.

    No other is loaded: an engine is code. The sidecar seals it with a key that never leaves the
    device, so an engine that came with the folder is built again.
    """
    path = engine_path(precision, batch)
    sidecar = path.with_name(path.name + ".json")
    described = {
        "sources": [file["sha256"] for file in sources(manifest, precision)],
        "tensorrt": board.version,
        "gpu": board.cuda.gpu_name,
        "compute_capability": board.cuda.compute_capability,
    }
    key = own_key()
    try:
        noted, plan = json.loads(sidecar.read_text(encoding="utf-8")), path.read_bytes()
        if hmac.compare_digest(str(noted.get("seal")), seal(key, described, plan)):
            return plan
        say(f"{precision}: {path.name} is not of this device, version and folder")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        say(f"{precision}: {path.name} cannot be used: {error}")
    say(f"{precision}: building; this can take minutes")
    started = time.perf_counter()
    plan = build(board, manifest, precision, batch)
    write_atomically(path, plan)
    noted = {**described, "seal": seal(key, described, plan)}
    write_atomically(sidecar, json.dumps(noted, indent=2).encode())
    say(f"{precision}: built in {time.perf_counter() - started:.0f} s")
    return plan


def seal(key: bytes, described: Dict[str, Any], plan: bytes) -> str:
    content = json.dumps(described, sort_keys=True).encode() + hashlib.sha256(plan).digest()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


class Network:
    """An engine on the GPU; `run` takes and returns numpy arrays, copies included."""

    def __init__(self, board: Board, plan: bytes, batch: int) -> None:
        trt, logger, cuda = board.trt, board.logger, board.cuda
        del logger.lines[:]
        self.cuda, self.logger, self.batch = cuda, logger, batch
        try:
            self.runtime = trt.Runtime(logger)
        except TypeError:  # what the bindings make of a null pointer
            raise Failure(7, f"TensorRT cannot start: {logger.reason()}") from None
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context: Any = self.engine.create_execution_context() if self.engine else None
        if self.context is None:
            raise Failure(
                7, f"TensorRT cannot load its engine: {logger.reason()}", "delete engines/."
            )
        stream = ctypes.c_void_p()
        cuda.call("cudaStreamCreateWithFlags", ctypes.byref(stream), 1)
        self.stream = stream.value or 0
        self.arrays: Dict[str, Any] = {}
        self.pointers: Dict[str, int] = {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            if self.engine.get_tensor_dtype(name) != trt.float32:
                raise Failure(7, f"The engine's {name} is not float32.", "export again.")
            shape = (batch, *tuple(self.engine.get_tensor_shape(name))[1:])
            self.arrays[name] = np.empty(shape, np.float32)
            self.pointers[name] = cuda.malloc(self.arrays[name].nbytes)
            self.context.set_tensor_address(name, self.pointers[name])
        if not self.context.set_input_shape(INPUT, self.arrays[INPUT].shape):
            raise Failure(7, f"The engine refuses {batch} clips: {logger.reason()}")

    def run(self, clips: Any) -> Any:
        """``(batch, samples)`` → logits ``(batch, classes)``, overwritten by the next call."""
        np.copyto(self.arrays[INPUT], clips)
        for name, array in self.arrays.items():
            if name == INPUT:
                self.cuda.copy(self.pointers[name], array.ctypes.data, array.nbytes, 1, self.stream)
        done = self.context.execute_async_v3(self.stream)
        for name, array in self.arrays.items():
            if name != INPUT:
                self.cuda.copy(array.ctypes.data, self.pointers[name], array.nbytes, 2, self.stream)
        self.cuda.call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))
        if not done:
            raise Failure(7, f"TensorRT failed to run: {self.logger.reason()}")
        return self.arrays["logits"]
