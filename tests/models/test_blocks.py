"""Each block against the same equations in float64 numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gmme_edge.models.downsample import GMME, AADown, Blur, SameConv2d, build_downsample
from gmme_edge.models.eat import EAT, EncoderLayer, ResBlock, Stem, peak_scale
from gmme_edge.spec import Backbone, Downsample, ModelSpec
from tests.conftest import TINY
from tests.models import numpy_reference as expected
from tests.models.random_weights import randomize


def run(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """`module` in float64, so that a difference is a mistake and not rounding."""
    with torch.no_grad():
        y: np.ndarray = module.double()(torch.from_numpy(x)).numpy()
    return y


def noise(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def assert_same(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())


def test_stem() -> None:
    module, x = Stem(3), noise(2, 1, 40)
    weights = randomize(module)
    assert_same(run(module, x), expected.stem(x, weights))


@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("channels", [1, 5])
def test_res_block(channels: int, dilation: int) -> None:
    module, x = ResBlock(channels, dilation), noise(2, channels, 64)
    weights = randomize(module)
    assert_same(run(module, x), expected.res_block(x, weights, dilation))


def test_res_block_needs_one_frame_more_than_it_reflects() -> None:
    with pytest.raises(RuntimeError, match="Padding"):
        ResBlock(1, 9)(torch.zeros(1, 1, 63))


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
def test_blur(stride: int) -> None:
    module, x = Blur(3, stride), noise(2, 3, 8 * stride)
    assert_same(run(module, x), expected.blur(x, stride))
    assert not list(module.parameters())
    constant = run(module, np.full((1, 3, 8 * stride), 2.5))
    np.testing.assert_allclose(constant, 2.5, rtol=1e-6)


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
def test_aa_down(stride: int) -> None:
    module, x = AADown(3, stride), noise(2, 3, 8 * stride)
    weights = randomize(module)
    got = run(module, x)
    assert got.shape == (2, 6, 8)
    assert_same(got, expected.aa_down(x, weights, stride))


@pytest.mark.parametrize(
    ("kernel", "channels", "rows", "columns"),
    [(4, 2, 2, 2), (4, 4, 6, 10), (6, 2, 8, 4), (8, 6, 4, 12), (10, 4, 12, 6), (32, 8, 8, 10)],
)
@pytest.mark.parametrize("kind", ["gmme", "gmme-lite"])
def test_gmme(kind: str, kernel: int, channels: int, rows: int, columns: int) -> None:
    module = GMME(Downsample(kind, kernel, channels))  # type: ignore[arg-type]
    weights, x = randomize(module), noise(2, rows, columns)
    got = run(module, x)
    assert got.shape == (2, 2 * rows, columns // 2)
    assert_same(got, expected.gmme(x, weights, patches=kind == "gmme"))


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("gmme", {"conv_f": (16, 4, 33, 4), "conv_t": (16, 4, 4, 33), "conv_g": (8, 4, 4, 4)}),
        ("gmme-lite", {"conv_f": (16, 1, 32, 4), "conv_t": (16, 1, 4, 32), "conv_g": (8, 1, 4, 4)}),
    ],
)
def test_gmme_kernels(kind: str, shapes: dict[str, tuple[int, ...]]) -> None:
    state = GMME(Downsample(kind, 32, 16)).state_dict()  # type: ignore[arg-type]
    assert {name: tuple(state[f"{name}.weight"].shape) for name in shapes} == shapes
    assert {f"{name}.bias" in state for name in shapes} == {kind == "gmme-lite"}
    slopes = {name: len(state[f"act_{name}.weight"]) for name in "ftgm"}
    assert slopes == {"f": 16, "t": 16, "g": 8, "m": 8}
    assert tuple(state["phi.weight"].shape) == (4, 8, 1, 1) and "phi.bias" in state


def test_patch_unit_is_a_stride_2_convolution_of_the_raw_map() -> None:
    """Kernels twice as long, re-laid: channel 2r + c of tap (a, b) is sample (2a + r, 2b + c)."""
    module = GMME(Downsample("gmme", 6, 4))
    weights, x = randomize(module), noise(1, 12, 16)
    patches = torch.from_numpy(expected.mini_patches(x))
    for name in ("conv_f", "conv_t", "conv_g"):
        weight = weights[f"{name}.weight"]
        n_out, _, long, wide = weight.shape
        raw = np.zeros((n_out, 1, 2 * long, 2 * wide))
        for r in (0, 1):
            for c in (0, 1):
                raw[:, 0, r::2, c::2] = weight[:, 2 * r + c]
        top, left = 2 * ((long - 1) // 2), 2 * ((wide - 1) // 2)
        pad = (left, 2 * (wide - 1) - left, top, 2 * (long - 1) - top)
        wanted = F.conv2d(F.pad(torch.from_numpy(x[:, None]), pad), torch.from_numpy(raw), stride=2)
        got = getattr(module.double(), name)(patches).detach()
        assert_same(got.numpy(), wanted.numpy())


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_even_kernels_pad_one_more_after(size: int) -> None:
    """With one tap a of k set to 1, output i is input 2i + a - (k - 1)//2, or 0 outside."""
    line = np.arange(1.0, 13.0)
    for tap in range(size):
        conv = SameConv2d(1, 1, (size, 1), 2, bias=False).double()
        with torch.no_grad():
            conv.weight.zero_()[0, 0, tap, 0] = 1
            got = conv(torch.from_numpy(line[None, None, :, None]))[0, 0, :, 0].numpy()
        sources = [2 * i + tap - (size - 1) // 2 for i in range(6)]
        assert got.tolist() == [line[s] if 0 <= s < 12 else 0.0 for s in sources]


def test_gmme_folds_frequency_into_channels_in_order() -> None:
    """Output row q·F/2 + i is phi's channel q at halved frequency i."""
    module = GMME(Downsample("gmme", 4, 2)).double()
    with torch.no_grad():
        module.phi.weight.zero_()
        module.phi.bias.copy_(torch.arange(4.0))
    assert run(module, noise(1, 6, 4))[0, :, 0].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_encoder_layer() -> None:
    backbone = Backbone(4, 24, 40, 1, 3)
    module, x = EncoderLayer(backbone, 0.1), noise(2, 9, 24)
    weights = randomize(module)
    assert_same(run(module, x), expected.encoder_layer(x, weights, 3))


def test_whole_network(tiny: ModelSpec) -> None:
    model = EAT(tiny)
    weights, x = randomize(model), noise(1, 1, tiny.n_samples)
    assert_same(run(model, x), expected.eat(x, weights, tiny))


def test_build_downsample() -> None:
    assert isinstance(build_downsample(Downsample("aa"), 8), AADown)
    assert isinstance(build_downsample(Downsample("gmme-lite", 4, 2), 8), GMME)


def test_peak_scale() -> None:
    waveform = np.array([[0.1, -0.2, 0.05], [0, 0, 0], [-3, 1, 2]], np.float32)
    scaled = peak_scale(torch.from_numpy(waveform)).numpy()
    wanted = [[0.475, -0.95, 0.2375], [0, 0, 0], [-0.95, 0.95 / 3, 1.9 / 3]]
    np.testing.assert_allclose(scaled, wanted, rtol=1e-6)
    with_axis = peak_scale(torch.from_numpy(waveform[:, None])).numpy()
    np.testing.assert_array_equal(with_axis[:, 0], scaled)


def test_dropout_acts_in_training_only() -> None:
    model = EAT(replace(TINY), dropout=0.5)
    randomize(model)
    x = torch.from_numpy(noise(1, 1, TINY.n_samples)).float()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.0  # so that training changes nothing but dropout
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        encoder = model.encoder.train()
        tokens = torch.from_numpy(noise(1, 5, 32)).float()
        assert not torch.equal(encoder(tokens), encoder(tokens))
