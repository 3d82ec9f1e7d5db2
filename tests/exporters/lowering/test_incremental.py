"""Windows whose new part alone is computed are the whole windows: float64 in torch."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gmme_edge.errors import UsageError
from gmme_edge.models.eat import EAT
from gmme_edge.spec import Downsample, preset
from gmme_exporters.lowering.gmme import relay_gmme
from gmme_exporters.lowering.incremental import Start, Step, lower_incremental
from gmme_exporters.lowering.pieces import Piece, Span, compute, needed, widened
from gmme_exporters.lowering.planes import to_planes
from tests.conftest import TINY
from tests.models.random_weights import randomize

DOWNS = st.sampled_from(
    [Downsample("aa"), Downsample("gmme", 8, 4), Downsample("gmme-lite", 6, 2),
     Downsample("gmme", 4, 32)]
)  # fmt: skip
FACTORS = st.sampled_from([(4,), (2, 3), (5, 2), (3, 2, 2)])
STAGES = st.sampled_from(["aa", "separable"])


def network(
    down: Downsample, factors: tuple[int, ...], stage1: str, tokens: int, seed: int = 0
) -> EAT:
    backbone = replace(TINY.backbone, stage1=stage1)  # type: ignore[arg-type]
    n_samples = tokens * 4 * math.prod(factors)
    model = EAT(
        replace(TINY, downsample=down, factors=factors, backbone=backbone, n_samples=n_samples)
    )
    randomize(model, seed)
    return model.double()


def follow(
    start: Start, step: Step, sound: Tensor, size: int, hop: int, scale: Tensor
) -> list[Tensor]:
    """Logits of every window of a sound, of which each but the first is a step."""
    found = start(sound[:, :size], scale)
    logits = [found[0]]
    for at in range(hop, sound.shape[1] - size + 1, hop):
        found = step(sound[:, at : at + size], scale, *found[1:])
        logits.append(found[0])
    return logits


@given(DOWNS, FACTORS, STAGES, st.integers(40, 120), st.integers(1, 12), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_steps_are_whole_windows(
    down: Downsample, factors: tuple[int, ...], stage1: str, tokens: int, hop_tokens: int, seed: int
) -> None:
    model = network(down, factors, stage1, tokens, seed)
    size, hop = model.spec.n_samples, hop_tokens * model.spec.stride
    start, step = lower_incremental(model, hop)
    generator = torch.Generator().manual_seed(seed)
    sound = torch.randn(1, size + 14 * hop, generator=generator, dtype=torch.float64)
    scale = torch.full((1, 1), 0.3, dtype=torch.float64)
    for index, got in enumerate(follow(start, step, sound, size, hop, scale)):
        expected = model((sound[:, index * hop : index * hop + size] * scale)[:, None])
        assert (got - expected).abs().max() <= 1e-11 * expected.abs().max()


def test_long_windows_keep_frames_deep_in_stage_2() -> None:
    _, step = lower_incremental(EAT(preset("eat-s-gmme-k32c8", "esc50")), 11 * 1024)
    assert [each.block for each in step.maps] == [
        "stage1.5", "stage2.0", "stage2.1", "stage2.2", "stage2.3", "stage2.4",
    ]  # fmt: skip
    computed = [each.left + each.total - each.right for each in step.maps]
    assert computed[0] == 51 and computed == sorted(computed[:4]) + computed[4:]


@torch.no_grad()
def test_what_is_kept_ends_where_frames_begin_to_differ() -> None:
    model = network(Downsample("gmme", 8, 4), (4,), "aa", 160)
    size, hop = model.spec.n_samples, 4 * model.spec.stride
    _, step = lower_incremental(model, hop)
    sound = torch.randn(1, 1, size + hop, dtype=torch.float64)
    old, new = (model.stage1(model.stem(x)) for x in (sound[..., :size], sound[..., hop:]))
    for each in step.maps:
        if each.block.startswith("stage2"):
            old, new = (model.get_submodule(each.block)(x) for x in (old, new))
        shared = old[..., each.hop :], new[..., : -each.hop]
        same = ((shared[0] - shared[1]).abs().amax((0, 1)) < 1e-11).tolist()
        assert all(same[each.left : each.clean - each.hop]), each.block
        assert not same[each.clean - each.hop], each.block


@pytest.mark.parametrize("tokens", [0, 1.5, 79, 80, 1000])
def test_a_hop_with_which_nothing_can_be_kept(tokens: float) -> None:
    model = network(Downsample("aa"), (4,), "aa", 80)
    hop_samples = int(tokens * model.spec.stride) + (1 if tokens == 1.5 else 0)
    with pytest.raises(UsageError, match=f"a hop of {hop_samples} samples"):
        lower_incremental(model, hop_samples)


@given(DOWNS, STAGES, st.sampled_from(range(8)), st.data())
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_any_piece_of_any_block(
    down: Downsample, stage1: str, index: int, data: st.DataObject
) -> None:
    model = network(down, (3, 2), stage1, 40)
    to_planes(model)
    relay_gmme(model)
    blocks = [model.stem, *model.stage1, *model.stage2]
    x = torch.randn(1, 1, 1, model.spec.n_samples, dtype=torch.float64)
    for block in blocks[:index]:
        x = block(x)
    block, whole = blocks[index], blocks[index](x)
    first = data.draw(st.integers(0, whole.shape[-1] - 1))
    end = data.draw(st.integers(first + 1, whole.shape[-1]))
    span, total = widened(block, Span(first, end)), x.shape[-1]
    reads = needed(block, Span(first, end), total)
    got = compute(block, Piece(x[..., reads.first : reads.end], reads.first, total), span)
    assert (got.first, got.x.shape[-1], got.total) == (span.first, span.size, whole.shape[-1])
    expected = whole[..., span.first : span.end]
    assert torch.allclose(got.x, expected, rtol=0, atol=1e-11 * float(whole.abs().max()))
