"""Gradients computed here are those that torch computes."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv1d
from torch.nn.functional import pad as pad_by_torch

from gmme_edge.models import convolution
from gmme_edge.models.convolution import Conv1d, Conv2d, filter_channels, own_gradients, pad_ends
from gmme_edge.models.eat import EAT
from gmme_edge.spec import preset

AVX = torch.backends.cpu.get_cpu_capability().startswith("AVX")
needs_avx = pytest.mark.skipif(not AVX, reason="elsewhere torch's own gradients are used")


def gradients(of: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    y = of(x)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return y.detach(), *torch.autograd.grad((y * weights).sum(), (x, *parameters))


def assert_same_gradients(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """In float64, so that a difference is a mistake and not rounding."""
    ours, theirs, x = ours.double(), theirs.double(), x.double()
    theirs.load_state_dict(ours.state_dict())
    assert "_Convolve" in str(ours(x.clone().requires_grad_()).grad_fn), "torch's own"
    got = gradients(ours, x, *ours.parameters())
    wanted = gradients(theirs, x, *theirs.parameters())
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


@needs_avx
@settings(deadline=None)
@given(
    batch=st.integers(1, 3), channels=st.integers(1, 4), per_channel=st.booleans(),
    taps=st.integers(2, 15), length=st.sampled_from([1, 2, 7, 64, 511, 512, 513, 1300]),
    stride=st.integers(1, 5), dilation=st.sampled_from([1, 1, 3, 9]), pad=st.integers(0, 6),
    beyond=st.integers(0, 4), bias=st.booleans(), wide=st.booleans(),
)  # fmt: skip
def test_one_dimension(
    batch: int, channels: int, per_channel: bool, taps: int, length: int, stride: int,
    dilation: int, pad: int, beyond: int, bias: bool, wide: bool,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    n_out, groups = (channels, channels) if per_channel else (channels + 1, 1)
    shape = (channels, n_out, taps, stride, pad, dilation, groups, bias)
    seen = (length - 1) * stride + (taps - 1) * dilation + 1
    x = torch.randn(batch, channels, max(1, seen + beyond - 2 * pad))
    if x.shape[-1] + 2 * pad < (taps - 1) * dilation + 1:
        return  # no output at all
    with mock.patch.object(convolution, "_has_avx512", lambda: wide):
        assert_same_gradients(Conv1d(*shape), nn.Conv1d(*shape), x)


@needs_avx
@pytest.mark.parametrize("stride", [2, 4])
def test_fixed_filters(stride: int) -> None:
    x, taps = torch.randn(2, 3, 101, dtype=torch.float64), torch.rand(3, 1, 9, dtype=torch.float64)
    got = gradients(lambda x: filter_channels(x, taps, stride), x)
    wanted = gradients(lambda x: conv1d(x, taps, stride=stride, groups=3), x)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


@needs_avx
@settings(deadline=None)
@given(
    batch=st.integers(1, 3), shape=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    kernel=st.tuples(st.integers(2, 9), st.integers(1, 5)), stride=st.sampled_from([1, 2, 2, 3]),
    size=st.tuples(st.integers(1, 17), st.integers(1, 6)), beyond=st.integers(0, 1),
    bias=st.booleans(),
)  # fmt: skip
def test_two_dimensions(
    batch: int, shape: tuple[int, int], kernel: tuple[int, int], stride: int,
    size: tuple[int, int], beyond: int, bias: bool,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    seen = [(n - 1) * stride + k + beyond for n, k in zip(size, kernel, strict=True)]
    x = torch.randn(batch, shape[0], *seen)
    ours = Conv2d(*shape, kernel, stride, bias=bias)
    assert_same_gradients(ours, nn.Conv2d(*shape, kernel, stride, bias=bias), x)


@needs_avx
@settings(deadline=None)
@given(
    left=st.integers(0, 9), right=st.integers(0, 9), length=st.integers(10, 30),
    channels=st.integers(1, 3),
)  # fmt: skip
def test_reflection(left: int, right: int, length: int, channels: int) -> None:
    x = torch.randn(2, channels, length, dtype=torch.float64)
    got = gradients(lambda x: pad_ends(x, (left, right), "reflect"), x)
    wanted = gradients(lambda x: pad_by_torch(x, (left, right), mode="reflect"), x)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


@needs_avx
@pytest.mark.parametrize("name", ["aa", "gmme-k32c8", "gmme-lite-k32c8", "edge-gmme-lite-k32c8"])
def test_whole_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    spec = preset(f"eat-s-{name}", "speech-commands")
    network, x = EAT(spec, dropout=0.0).double().train(), torch.randn(2, 1, spec.n_samples).double()

    def step() -> dict[str, Tensor]:
        network.zero_grad()
        network(x).square().sum().backward()
        return {key: p.grad for key, p in network.named_parameters() if p.grad is not None}

    ours = step()
    monkeypatch.setattr(convolution, "own_gradients", lambda _: False)
    theirs = step()
    scale = max(gradient.abs().max() for gradient in theirs.values())
    assert ours.keys() == theirs.keys()
    for key, wanted in theirs.items():
        torch.testing.assert_close(ours[key], wanted, rtol=1e-9, atol=1e-12 * float(scale), msg=key)


@needs_avx
@pytest.mark.parametrize("name", ["aa", "gmme-k32c8", "gmme-lite-k32c8", "edge-gmme-lite-k32c8"])
def test_bfloat16_is_as_near_to_float64_as_torchs_own(name: str) -> None:
    spec = preset(f"eat-s-{name}", "speech-commands")
    torch.manual_seed(0)
    x = torch.randn(4, 1, spec.n_samples)
    network = EAT(spec, dropout=0.0).train()

    def step(own: bool, dtype: torch.dtype) -> Tensor:
        network.to(dtype).zero_grad()
        with (
            mock.patch.object(convolution, "own_gradients", lambda _: own),
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32),
        ):
            loss = network(x.to(dtype)).to(torch.float64).square().sum()
        loss.backward()
        gradients = [p.grad for p in network.parameters()]
        assert all(g is not None and g.dtype == dtype for g in gradients)
        return torch.cat([g.flatten().double() for g in gradients if g is not None])

    ours, torchs, exact = (
        step(own, dtype)
        for own, dtype in (
            (True, torch.float32), (False, torch.float32), (False, torch.float64),
        )
    )  # fmt: skip
    assert (ours - exact).norm() < 1.25 * (torchs - exact).norm()
    assert (ours - exact).norm() < 0.2 * exact.norm()


def test_where_torchs_own_gradients_are_used() -> None:
    x = torch.zeros(1, 1, 8)
    assert own_gradients(x) == AVX
    with torch.no_grad():
        assert not own_gradients(x)
    assert not own_gradients(x.to("meta"))
    conv = Conv1d(1, 1, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16


def test_a_reflection_longer_than_the_clip_is_torchs_error() -> None:
    with pytest.raises(RuntimeError, match="Padding"):
        pad_ends(torch.zeros(1, 1, 5), (5, 5), "reflect")
