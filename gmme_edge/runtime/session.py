"""What a backend must offer: a waveform batch in, named outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Dict, Protocol  # noqa: UP035

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.manifest import INPUT, OUTPUTS
from gmme_edge.errors import BundleError, OutputError, UsageError
from gmme_edge.spec import ModelSpec

Outputs = Dict[str, NDArray[np.float32]]  # noqa: UP006 - evaluated, and Python 3.8 has no other


class Session(Protocol):
    """One network on one engine, ready to run; not for use from several threads at once."""

    backend: str
    precision: str

    def run(self, waveform: NDArray[np.float32]) -> Outputs:
        """``(batch, samples)`` float32 → ``logits`` and, where exported, ``embedding``."""
        ...

    def close(self) -> None:
        """Free the engine; the session cannot run afterwards."""
        ...


class Resident(Protocol):
    """One network with a batch that lies on the GPU already."""

    def __call__(self) -> None:
        """Run it and wait for its end; nothing is copied."""
        ...

    def fetch(self) -> Outputs:
        """Copy the outputs of the last call to the host."""
        ...


class GpuSession(Session, Protocol):
    """A session that can leave its inputs and outputs on the GPU."""

    def resident(self, waveform: NDArray[np.float32]) -> Resident:
        """Copy ``(batch, samples)`` to the GPU once, for calls that are the network alone."""
        ...


def check_graph_batch(n_clips: int, n_captured: int | None) -> None:
    """Raise `UsageError` where a CUDA graph was captured for another batch size."""
    if n_captured not in (None, n_clips):
        raise UsageError(
            f"A batch of {n_clips} for a CUDA graph of {n_captured}.",
            "one batch size for all calls of a session with CUDA graphs.",
            "open another session for it.",
        )


def check_batch(waveform: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """`waveform` as contiguous float32 ``(batch, n_samples)``.

    Raises:
        UsageError: another shape, or no clip at all.
    """
    if waveform.ndim != 2 or waveform.shape[1] != n_samples or len(waveform) == 0:
        raise UsageError(
            f"The session was given a batch of shape {waveform.shape}.",
            f"(batch, {n_samples}), batch at least 1.",
        )
    return np.ascontiguousarray(waveform, dtype=np.float32)


class TensorFacts(Protocol):
    """What an engine says of one input or output; a dimension that is no number may be any."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> list[object]: ...

    @property
    def type(self) -> str: ...


def check_graph(
    inputs: Sequence[TensorFacts], outputs: Sequence[TensorFacts], spec: ModelSpec, where: str
) -> list[str]:
    """The outputs to ask for, after names, types and shapes were found to be the manifest's."""
    rows = {OUTPUTS[0]: spec.n_classes, OUTPUTS[1]: spec.backbone.embed_dim}
    known = [each for each in outputs if each.name in rows]
    if [each.name for each in inputs] != [INPUT] or OUTPUTS[0] not in [e.name for e in known]:
        raise BundleError(
            f"{where} has inputs {[each.name for each in inputs]} and outputs "
            f"{[each.name for each in outputs]}.",
            f"one input {INPUT!r} and an output {OUTPUTS[0]!r}.",
            "export the bundle again.",
        )
    for each, width in ((inputs[0], spec.n_samples), *((e, rows[e.name]) for e in known)):
        shape = list(each.shape or [])
        fits = len(shape) == 2 and (not isinstance(shape[1], int) or shape[1] == width)
        if each.type != "tensor(float)" or not fits:
            raise BundleError(
                f"{where} has {each.name} as {each.type} of shape {shape}.",
                f"tensor(float) of shape (batch, {width}), as the manifest says.",
                "export the bundle again.",
            )
    return [name for name in OUTPUTS if name in [each.name for each in known]]


def check_outputs(outputs: Outputs, n_rows: int, spec: ModelSpec, where: str) -> Outputs:
    """`outputs`, found to be one row of the manifest's width per clip, of finite logits.

    Raises:
        OutputError: they are not.
    """
    logits = outputs[OUTPUTS[0]]
    if logits.shape != (n_rows, spec.n_classes):
        raise OutputError(
            f"{where} gave logits of shape {logits.shape}.", f"({n_rows}, {spec.n_classes})."
        )
    if not np.isfinite(logits).all():
        raise OutputError(
            f"{where} gave logits that are NaN or infinite.",
            "finite ones.",
            "verify the bundle here; where only fp16 does so, use fp32.",
        )
    return outputs
