"""The samples of noise: normal, reproducible, one after another independent."""

from __future__ import annotations

import math

import numpy as np
import torch

from gmme_edge.training.normal import draw_normal

CPU = torch.device("cpu")


def test_numbers_are_normal() -> None:
    """Shares below ten limits against the normal distribution's, within 5 standard errors."""
    count = 400_001
    drawn = draw_normal(count, 7, CPU).double().numpy()
    assert drawn.shape == (count,) and np.isfinite(drawn).all()
    for limit in np.linspace(-4, 4, 10):
        wanted = 0.5 * (1 + math.erf(limit / math.sqrt(2)))
        error = 5 * math.sqrt(wanted * (1 - wanted) / count)
        assert abs((drawn < limit).mean() - wanted) < error


def test_numbers_do_not_depend_on_one_another() -> None:
    """Neither neighbours nor the two that come of one pair of uniform numbers, nor two seeds."""
    drawn, other = (draw_normal(200_000, seed, CPU).double().numpy() for seed in (1, 2))
    half = len(drawn) // 2
    for a, b in ((drawn[1:], drawn[:-1]), (drawn[:half], drawn[half:]), (drawn, other)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(len(a))
        assert abs(np.corrcoef(a**2, b**2)[0, 1]) < 5 / math.sqrt(len(a))


def test_a_function_of_the_seed() -> None:
    assert torch.equal(draw_normal(1001, 3, CPU), draw_normal(1001, 3, CPU))
    assert draw_normal(1, 3, CPU).shape == (1,) and draw_normal(0, 3, CPU).shape == (0,)
