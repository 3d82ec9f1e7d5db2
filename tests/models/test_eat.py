"""The built networks: what they count, what they start from, which shapes they accept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from gmme_edge.complexity import count
from gmme_edge.models.checkpoint import untrained_checkpoint
from gmme_edge.models.eat import EAT, peak_scale, seed_batch_norm, torch_predictor
from gmme_edge.spec import PRESETS, TASKS, Backbone, Downsample, ModelSpec, preset
from tests.conftest import DOWNSAMPLES, TINY


def assert_counts_match(spec: ModelSpec) -> None:
    """Closed form against the parameters that exist and the operations that torch runs."""
    with torch.device("meta"):
        model, waveform = EAT(spec).eval(), torch.zeros(1, 1, spec.n_samples)
    counted = count(spec)
    blocks = [model.stage2[3], model.stage2[7]]
    assert counted.t_params == sum(p.numel() for p in model.parameters())
    assert counted.d_params == sum(p.numel() for b in blocks for p in b.parameters())
    with FlopCounterMode(display=False) as counter:
        assert model(waveform).shape == (1, spec.n_classes)
    # q·kᵀ and weights·v: each (tokens + 1)² · width multiply-adds per layer
    attention = 4 * (spec.tokens + 1) ** 2 * spec.backbone.embed_dim * spec.backbone.n_layers
    assert counted.flops == counter.get_total_flops() - attention


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", PRESETS)
def test_counts_of_presets(name: str, task: str) -> None:
    assert_counts_match(preset(name, task))


@pytest.mark.parametrize(
    ("factors", "n_classes", "n_samples", "parameters"),
    [((4, 4, 4, 4), 10, 40_960, 301_950), ((4, 4, 4), 7, 8_192, 96_667)],
)
def test_reference_implementations_own_counts(
    factors: tuple[int, ...], n_classes: int, n_samples: int, parameters: int
) -> None:
    """`params` of ../shared/reference/eat-parity/configs.json."""
    spec = replace(TINY, factors=factors, n_classes=n_classes, n_samples=n_samples)
    assert count(spec).t_params == parameters


@st.composite
def small_specs(draw: st.DrawFn) -> ModelSpec:
    heads = draw(st.integers(1, 4))
    factors = tuple(draw(st.lists(st.integers(2, 5), min_size=1, max_size=4)))
    backbone = Backbone(
        draw(st.integers(1, 6)), heads * draw(st.integers(1, 8)), draw(st.integers(1, 40)),
        draw(st.integers(1, 3)), heads, draw(st.sampled_from(["aa", "separable"])),
    )  # fmt: skip
    kind = draw(st.sampled_from(["aa", "gmme", "gmme-lite"]))
    sizes = (2 * draw(st.integers(2, 9)), 2 * draw(st.integers(1, 5))) if kind != "aa" else (0, 0)
    n_samples = 4 * math.prod(factors) * draw(st.integers(32, 40))
    down = Downsample(kind, *sizes)
    return ModelSpec("any", backbone, down, 8000, n_samples, factors, draw(st.integers(1, 9)))


@settings(max_examples=15, deadline=None)
@given(small_specs())
def test_any_valid_spec_counts_and_runs(spec: ModelSpec) -> None:
    assert_counts_match(spec)


@settings(max_examples=10, deadline=None)
@given(small_specs().filter(lambda spec: spec.n_samples <= 8192))
def test_any_valid_spec_gives_finite_logits(spec: ModelSpec) -> None:
    waveform = torch.rand(2, 1, spec.n_samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = EAT(spec).eval()(waveform)
    assert logits.shape == (2, spec.n_classes) and bool(logits.isfinite().all())


def test_shortest_clip_runs_and_shorter_ones_cannot() -> None:
    """Why specs demand 64·2·prod(factors) samples."""
    model = EAT(TINY).eval()
    assert TINY.n_samples == TINY.min_samples
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 8192)).shape == (1, 3)
        with pytest.raises(RuntimeError, match="Padding"):
            model(torch.zeros(1, 1, 8192 - 256))


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = EAT(preset("eat-s-gmme-lite-k32c8", "speech-commands"))
    convolutions = {
        name: p.detach()
        for name, p in model.named_parameters()
        if p.ndim >= 3 and name not in ("class_token", "position")
    }
    assert len(convolutions) > 30
    every = torch.cat([p.flatten() for p in convolutions.values()])
    assert float(every.mean()) == pytest.approx(0, abs=1e-4)
    assert float(every.std()) == pytest.approx(0.02, rel=0.01)
    for name, p in convolutions.items():  # each by itself: 6 standard errors
        error = 6 * 0.02 / math.sqrt(2 * p.numel())
        assert float(p.square().mean().sqrt()) == pytest.approx(0.02, abs=error), name
    for name, p in model.named_parameters():
        if name.endswith("bias") or name in ("class_token", "position"):
            assert not p.any(), name
        elif p.ndim == 1:
            slope = ".act_" in name
            assert torch.equal(p, torch.full_like(p, 0.25 if slope else 1.0)), name
    for name, buffer in model.named_buffers():
        if "running" in name:
            wanted = 0.0 if name.endswith("mean") else 1.0
            assert torch.equal(buffer, torch.full_like(buffer, wanted))


def test_same_seed_same_network() -> None:
    models = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        models.append(EAT(TINY).state_dict())
    first, again, other = models
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])


def test_predictor_scales_peaks() -> None:
    model = EAT(TINY).eval()
    raw = np.random.default_rng(0).normal(0, 0.01, (3, TINY.n_samples)).astype(np.float32)
    predict = torch_predictor(model)
    logits = predict(raw)
    assert logits.shape == (3, 3) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, predict(raw * np.float32(4)), atol=1e-6)
    np.testing.assert_allclose(logits[1:2], predict(raw[1:2]), atol=1e-5)
    scaled = 0.95 * raw / np.abs(raw).max(axis=1, keepdims=True)
    with torch.no_grad():
        wanted = model(torch.from_numpy(scaled).unsqueeze(1)).numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-5)


@pytest.mark.parametrize("down", DOWNSAMPLES, ids=str)
def test_seeded_batch_norm_holds_the_batchs_statistics(down: Downsample) -> None:
    torch.manual_seed(0)
    model = EAT(replace(TINY, downsample=down), dropout=0.0)
    waveform = peak_scale(torch.randn(4, TINY.n_samples))
    seed_batch_norm(model, waveform)
    stem = model.stem.conv(torch.nn.functional.pad(waveform[:, None], (3, 3), mode="reflect"))
    wanted = stem.detach().double().transpose(0, 1).flatten(1)
    norm = model.stem.norm
    np.testing.assert_allclose(norm.running_mean, wanted.mean(1), atol=1e-5)
    np.testing.assert_allclose(norm.running_var, wanted.var(1), rtol=1e-4)
    momenta = {m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)}
    assert momenta == {0.1}
    with torch.no_grad():  # eval mode now normalises as training mode does
        trained = model.train()(waveform.unsqueeze(1))
        seeded = model.eval()(waveform.unsqueeze(1))
    np.testing.assert_allclose(seeded, trained, atol=0.05 * float(trained.std()))


def test_untrained_checkpoint_is_a_function_of_its_seed() -> None:
    clips = np.random.default_rng(0).normal(0, 0.1, (2, TINY.n_samples)).astype(np.float32)
    before = torch.random.get_rng_state()
    first, again, other = (untrained_checkpoint(TINY, clips, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    states = [c.model.state_dict() for c in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["stem.conv.weight"], states[2]["stem.conv.weight"])
    assert first.training == {"untrained": True, "seed": 1} and len(first.labels) == 3
    assert not first.model.training
