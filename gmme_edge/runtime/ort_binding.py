"""ONNX Runtime with inputs and outputs at fixed places in a device's memory (I/O binding)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.manifest import INPUT
from gmme_edge.errors import PlatformError
from gmme_edge.runtime.session import Outputs, check_outputs
from gmme_edge.spec import ModelSpec


class Binding:
    """One batch's input and outputs on a device; `session.Resident` is its interface.

    CUDA graphs need it: a graph reads and writes the addresses that it was captured with.

    Args:
        session: onnxruntime's.
        device: onnxruntime's name of it, ``cuda`` or ``cpu``.
        widths: of each output's rows, by name.
    """

    def __init__(
        self,
        ort: ModuleType,
        session: Any,  # noqa: ANN401 - onnxruntime has no stubs
        device: str,
        batch: NDArray[np.float32],
        widths: dict[str, int],
        spec: ModelSpec,
    ) -> None:
        self._session, self._spec, self.n_clips = session, spec, len(batch)
        self._where = f"{spec.name} on {device}"
        self._io = session.io_binding()
        self._input = ort.OrtValue.ortvalue_from_numpy(batch, device, 0)
        self._io.bind_ortvalue_input(INPUT, self._input)
        self._outputs = {}
        for name, width in widths.items():
            shape = [len(batch), width]
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)
            self._io.bind_ortvalue_output(name, value)
            self._outputs[name] = value

    def load(self, batch: NDArray[np.float32]) -> None:
        """Copy another batch of the same size to the input's place."""
        self._input.update_inplace(batch)

    def __call__(self) -> None:
        try:
            self._session.run_with_iobinding(self._io)
            self._io.synchronize_outputs()
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise PlatformError(
                f"{self._where} failed on a batch of {self.n_clips}: {error}",
                fix="use a smaller batch if memory ran out.",
            ) from error

    def fetch(self) -> Outputs:
        outputs = {name: np.asarray(value.numpy()) for name, value in self._outputs.items()}
        return check_outputs(outputs, self.n_clips, self._spec, self._where)
