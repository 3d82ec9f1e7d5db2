"""The loss against numbers worked out by hand, and against torch's own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gmme_edge.training.feed.mixing import Targets
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.loss import batch_loss

RECIPE = Recipe(epochs=1)


def targets(first: list[int], second: list[int], share: list[float]) -> Targets:
    return Targets(torch.tensor(first), torch.tensor(second), torch.tensor(share))


def test_cross_entropy_by_hand() -> None:
    """Three classes, probabilities 1/2, 1/4, 1/4; 0.1 of the label is spread over all three."""
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0]])
    weights = (1 - 0.1 + 0.1 / 3, 0.1 / 3, 0.1 / 3)
    wanted = sum(w * math.log(p) for w, p in zip(weights, (2, 4, 4), strict=True))
    got = batch_loss(logits, targets([0], [0], [0.0]), RECIPE, mixed=False)
    assert float(got[0]) == pytest.approx(wanted)


def test_binary_cross_entropy_by_hand() -> None:
    """Sigmoids 3/4, 1/2, 1/4. The second label is absent, at the limit, over it, the first's."""
    logits = torch.tensor([[math.log(3.0), 0.0, -math.log(3.0)]]).repeat(4, 1)
    one, both = math.log(4 / 3 * 2 * 4 / 3), math.log(4 / 3 * 2 * 4)
    wanted = [one, one, both, one]
    mixed = targets([0, 0, 0, 0], [2, 2, 2, 0], [0.0, 0.1, 0.11, 0.5])
    got = batch_loss(logits, mixed, replace(RECIPE, label_smoothing=0.3), mixed=True)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_before_mixing_it_is_torchs(smoothing: float) -> None:
    logits, labels = torch.randn(9, 7), torch.randint(7, (9,))
    got = batch_loss(
        logits, Targets.unmixed(labels), replace(RECIPE, label_smoothing=smoothing), mixed=False
    )
    assert got.shape == (9,)
    wanted = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(got.mean(), wanted)


def test_mixed_it_is_torchs_on_many_labels() -> None:
    """The reference's formula: one-hot labels, added and cut off at 1."""
    logits = torch.randn(50, 7, requires_grad=True)
    first, second, share = torch.randint(7, (50,)), torch.randint(7, (50,)), torch.rand(50)
    one_hot = F.one_hot(first, 7) + F.one_hot(second, 7) * (share > 0.1)[:, None]
    wanted = F.binary_cross_entropy_with_logits(
        logits, one_hot.clamp(max=1).float(), reduction="sum"
    )
    got = batch_loss(logits, Targets(first, second, share), RECIPE, mixed=True)
    assert got.shape == (50,)
    torch.testing.assert_close(got.sum(), wanted)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (got.sum(), wanted)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_precisions_and_large_logits(mixed: bool, dtype: torch.dtype) -> None:
    logits = torch.tensor([[3e4, -3e4, 0.0]], dtype=dtype)
    got = batch_loss(logits, targets([1], [2], [0.4]), RECIPE, mixed)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert got.isfinite().all() and float(got[0]) > 1e4
