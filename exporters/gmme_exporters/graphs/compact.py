"""A checkpoint with its weights in float16, that a bundle's graph can read (`shared_weights`).

    model.safetensors ◀── model.json       the checkpoint: to fine-tune, to export again
                      ◀── model.fp32.onnx  the bundle's graph: to run

Both in one folder are the smallest form that a network can be shipped in and still be trained.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gmme_edge.audio import Waveform
from gmme_edge.models.checkpoint import Checkpoint, save_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.models.reference import load_state

_MAX_ROUNDING = 2.0**-10  # of a tensor, root mean square; ordinary values lose a quarter of it


def write_compact_checkpoint(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Write the checkpoint's files with `halve_weights`; returns the network that they hold."""
    state = halve_weights(checkpoint.model)
    training = {**checkpoint.training, "rounded_from_sha256": checkpoint.sha256}
    save_checkpoint(folder, checkpoint.spec, state, checkpoint.labels, training)
    model = EAT(checkpoint.spec)
    load_state(model, state)
    return replace(checkpoint, model=model.eval(), training=training)


def halve_weights(model: EAT) -> dict[str, Tensor]:
    """The state dict with its matrices and kernels in float16.

    Vectors (biases, slopes, BatchNorm) and buffers stay float32: they are few, and a GMME's
    variances lie below what float16 holds. So does a tensor that float16 would distort.
    """
    trained = dict(model.named_parameters())
    return {
        key: value.half() if key in trained and _fits_half(value) else value
        for key, value in model.state_dict().items()
    }


def _fits_half(value: Tensor) -> bool:
    error = torch.linalg.vector_norm(value.half().float() - value)
    return value.ndim > 1 and bool(error <= _MAX_ROUNDING * torch.linalg.vector_norm(value))


def round_to_16_bits(clips: Waveform) -> Waveform:
    """The samples that a 16-bit recording can hold; as golden vectors they pack twice as small."""
    return (np.round(clips * 32768) / 32768).astype(np.float32)
