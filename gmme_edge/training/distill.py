"""Distillation: a trained network's soft labels teach another one (arXiv 1503.02531).

The teacher hears the very waveform that the student hears, augmented and mixed alike
(arXiv 2106.05237), so its labels are right for a mixture whatever the mixing did to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.errors import CheckpointError, UsageError
from gmme_edge.models.checkpoint import Checkpoint
from gmme_edge.spec import ModelSpec


class Teacher:
    """A frozen network: peak-scaled waveforms ``(B, 1, N)`` → logits ``(B, n_classes)``.

    Any blocks and widths will do. It resamples and cuts nothing: what it hears must have its own
    sample rate and length, and its classes must be the student's, which `check` tells.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device = "cpu") -> None:
        self.spec, self.labels = checkpoint.spec, checkpoint.labels
        self._model = checkpoint.model.eval().requires_grad_(False).to(device)

    def check(self, spec: ModelSpec, labels: tuple[str, ...]) -> None:
        """Raise `CheckpointError` unless it can teach a student of `spec` and `labels`."""
        have = self.spec.sample_rate_hz, self.spec.n_samples
        want = spec.sample_rate_hz, spec.n_samples
        if have != want:
            raise CheckpointError(
                f"The teacher hears {have[1]} samples at {have[0]} Hz, the student {want[1]} at "
                f"{want[0]} Hz.",
                "the same clip length and sample rate.",
                "give the student the teacher's --task, or --sample-rate and --samples.",
            )
        if self.labels != labels:
            raise CheckpointError(
                f"The teacher's classes are {_list(self.labels)}; the student's {_list(labels)}.",
                "the same labels in the same order.",
                "train the teacher on the student's data set.",
            )

    @torch.no_grad()
    def __call__(self, waveform: Tensor) -> Tensor:
        if waveform.shape[-1] != self.spec.n_samples:
            raise UsageError(
                f"The teacher is given {waveform.shape[-1]} samples.", f"{self.spec.n_samples}."
            )
        logits: Tensor = self._model(waveform)
        return logits


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Per row, T²·KL(teacher ‖ student) of both logits' softmax at temperature T.

    Shapes: ``(B, C)`` twice → ``(B,)``. T² keeps the gradient's size as T grows (section 2 of
    arXiv 1503.02531). It fixes the logits up to a constant, so it also goes with the binary
    cross-entropy of mixed labels, which settles that constant.
    """
    log_p = F.log_softmax(teacher.float() / temperature, dim=1)
    log_q = F.log_softmax(student.float() / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1) * temperature**2


def _list(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:12]) + (f", … ({len(labels)})" if len(labels) > 12 else "")
