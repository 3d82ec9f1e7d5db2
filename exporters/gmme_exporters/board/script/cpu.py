"""ONNX Runtime on the CPU, where a device has no TensorRT."""

import os
import platform
from typing import Any, Dict, List, Optional

from gmme_exporters.board.script.folder import FOLDER, INPUT, Failure, Manifest, sources


class Cpu:
    """ONNX Runtime; `threads` None leaves their number to it."""

    backend, precisions = "ort-cpu", ("fp32", "fp16", "int8-ort")

    def __init__(self, threads: Optional[int]) -> None:
        # Official builds would number the device in the home folder, and report their use.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise Failure(
                4,
                f"Python {platform.python_version()} cannot load onnxruntime: {error}",
                "pip install onnxruntime, or name a Python that has it.",
            ) from error
        self.ort, self.threads = onnxruntime, threads
        self.libraries: Dict[str, str] = {"onnxruntime": str(onnxruntime.__version__)}
        self.gpus: List[Dict[str, str]] = []

    def open(self, manifest: Manifest, precision: str, batch: int) -> "CpuNetwork":
        return CpuNetwork(self.ort, manifest, precision, batch, self.threads)


class CpuNetwork:
    """A graph of the folder; `run` takes and returns numpy arrays."""

    def __init__(
        self, ort: Any, manifest: Manifest, precision: str, batch: int, threads: Optional[int]
    ) -> None:
        self.batch = batch
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
        options.log_severity_level = 3
        # As `gmme-edge profile` has it: idle workers would otherwise spin between calls.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = FOLDER / sources(manifest, precision)[0]["path"]
        try:
            self.session = ort.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise Failure(
                7, f"onnxruntime {ort.__version__} cannot load {graph.name}: {error}"
            ) from error

    def run(self, clips: Any) -> Any:
        """``(batch, samples)`` → logits ``(batch, classes)``."""
        try:
            return self.session.run(["logits"], {INPUT: clips})[0]
        except Exception as error:
            raise Failure(7, f"onnxruntime failed to run: {error}") from error
