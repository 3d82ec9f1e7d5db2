"""Batch normalization over several processes, here threads, is torch's over the whole batch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from gmme_edge.models.eat import EAT
from gmme_edge.training.parallel.batch_norm import GlobalBatchNorm1d, share_batch_norm
from tests.conftest import TINY

PROCESSES, ROWS, CHANNELS, FRAMES = 3, 4, 5, 7


def gathers() -> list[Callable[[Tensor], Tensor]]:
    """One per thread, each as `gather_from_processes` is in a process."""
    barrier, parts = threading.Barrier(PROCESSES), [torch.empty(0)] * PROCESSES

    def gather(rank: int, values: Tensor) -> Tensor:
        parts[rank] = values
        barrier.wait(10)
        gathered = torch.stack(parts)
        barrier.wait(10)
        return gathered

    return [lambda values, rank=rank: gather(rank, values) for rank in range(PROCESSES)]


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_threads_together_are_torchs_over_the_whole_batch(mean: float) -> None:
    """In float64, so that only a wrong formula can differ; each process's mean is another."""
    rng = torch.Generator().manual_seed(0)
    options = {"generator": rng, "dtype": torch.float64}
    shape = (PROCESSES * ROWS, CHANNELS, FRAMES)
    x, weights = torch.randn(shape, **options), torch.randn(shape, **options)
    x = x * torch.rand(CHANNELS, 1, **options) + mean + torch.arange(len(x))[:, None, None]
    norm = nn.BatchNorm1d(CHANNELS).double()
    for p in norm.parameters():
        nn.init.normal_(p, generator=rng)
    each = gathers()

    def work(rank: int) -> tuple[Tensor, Tensor, nn.BatchNorm1d]:
        own = slice(rank * ROWS, (rank + 1) * ROWS)
        shared, part = copy.deepcopy(norm), x[own].clone().requires_grad_()
        share_batch_norm(shared)
        shared.gather = each[rank]  # type: ignore[assignment]
        y = shared(part)
        (y * weights[own]).sum().backward()
        assert part.grad is not None
        return y.detach(), part.grad, shared

    with ThreadPoolExecutor(PROCESSES) as pool:
        outputs, gradients, norms = zip(*pool.map(work, range(PROCESSES)), strict=True)
    whole = x.clone().requires_grad_()
    wanted = norm(whole)
    (wanted * weights).sum().backward()
    torch.testing.assert_close(torch.cat(outputs), wanted.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat(gradients), whole.grad, rtol=0, atol=1e-12)
    for name, p in norm.named_parameters():
        total = sum(dict(shared.named_parameters())[name].grad for shared in norms)
        torch.testing.assert_close(total, p.grad, rtol=0, atol=1e-11)
    for shared in norms:
        torch.testing.assert_close(shared.state_dict(), norm.state_dict(), rtol=0, atol=1e-12)


def test_half_precision_comes_back_as_it_went_in() -> None:
    norm = nn.BatchNorm1d(CHANNELS)
    share_batch_norm(norm)
    norm.gather = lambda values: values[None]  # type: ignore[assignment]
    x = torch.randn(ROWS, CHANNELS, FRAMES, generator=torch.Generator().manual_seed(0))
    y = norm(x.bfloat16())
    assert y.dtype == torch.bfloat16
    wanted = nn.BatchNorm1d(CHANNELS)(x.bfloat16().float())
    torch.testing.assert_close(y.float(), wanted, rtol=2**-8, atol=0)


def test_a_shared_network_has_the_same_state_and_the_same_eval_mode() -> None:
    model = EAT(TINY).eval()
    waveform = torch.randn(2, 1, TINY.n_samples, generator=torch.Generator().manual_seed(0))
    before, state = model(waveform), copy.deepcopy(model.state_dict())
    share_batch_norm(model)
    assert sum(isinstance(m, GlobalBatchNorm1d) for m in model.modules()) > 5
    assert not any(type(m) is nn.BatchNorm1d for m in model.modules())
    assert torch.equal(model(waveform), before)
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
