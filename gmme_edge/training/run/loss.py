"""The loss of a batch whose clips may be mixed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.training.feed.mixing import Targets
from gmme_edge.training.recipe import Recipe


def batch_loss(logits: Tensor, targets: Targets, recipe: Recipe, mixed: bool) -> Tensor:
    """Each clip's loss; logits ``(B, classes)`` → ``(B,)``, float32 also under autocast.

    Before mixing starts, cross-entropy with label smoothing. Afterwards binary cross-entropy,
    summed over the classes, on the union of both labels; the second one counts where its share is
    over `mixing_min_share`.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if not mixed:
        smoothing = recipe.label_smoothing
        return F.cross_entropy(logits, targets.first, label_smoothing=smoothing, reduction="none")
    wanted = torch.zeros_like(logits).scatter_(1, targets.first[:, None], 1.0)
    counts = (targets.share > recipe.mixing_min_share).to(logits)[:, None]
    wanted.scatter_reduce_(1, targets.second[:, None], counts, "amax")
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)
