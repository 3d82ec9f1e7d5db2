"""A bundle in Triton's Python backend: READY only after its golden vectors agreed.

Written beside the bundle as `model.py`; needs gmme-edge, numpy and onnxruntime in the backend's
Python.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import GmmeEdgeError
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.parity import verify_bundle


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        stated = {name: each["string_value"] for name, each in config["parameters"].items()}
        bundle = Bundle.open(Path(args["model_repository"]) / args["model_version"] / "bundle")
        precision, threads = stated["precision"], int(stated["threads"])
        verify_bundle(
            bundle, lambda name: open_session(bundle, "ort-cpu", name, threads), (precision,)
        )
        self._session = open_session(bundle, "ort-cpu", precision, threads)
        self._outputs = [each["name"] for each in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """All windows that wait, as one batch; each request gets its own rows back."""
        given = [triton.get_input_tensor_by_name(r, "waveform").as_numpy() for r in requests]
        try:
            found = self._session.run(np.concatenate(given))
        except GmmeEdgeError as error:
            failed = triton.InferenceResponse(error=triton.TritonError(str(error)))
            return [failed] * len(requests)
        ends = np.cumsum([len(each) for each in given])[:-1]
        rows = {name: np.split(found[name], ends) for name in self._outputs}
        return [
            triton.InferenceResponse([triton.Tensor(name, rows[name][i]) for name in rows])
            for i in range(len(requests))
        ]

    def finalize(self) -> None:
        self._session.close()
