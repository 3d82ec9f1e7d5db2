"""How far padding reaches behind each block, as the bound on streaming counts it, against torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gmme_edge.models.eat import EAT
from gmme_edge.spec import Backbone, Downsample, ModelSpec, preset
from tests.models.random_weights import randomize

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

sys.path.insert(0, str(BENCHMARKS))
try:
    import streaming_bound
finally:
    sys.path.remove(str(BENCHMARKS))

AA, GMME, LITE = Downsample("aa"), Downsample("gmme", 8, 2), Downsample("gmme-lite", 32, 2)


def small(down: Downsample, stage1: str = "aa", factors: tuple[int, ...] = (2, 2)) -> EAT:
    backbone = Backbone(2, 8, 8, 1, 2, stage1)  # type: ignore[arg-type]
    return EAT(ModelSpec("small", backbone, down, 8000, 9216, factors, 2)).double()


@pytest.mark.parametrize(
    "model",
    [
        small(AA),
        small(AA, factors=(3, 2)),
        small(GMME),
        small(LITE),
        small(LITE, "separable"),
    ],
    ids=lambda model: f"{model.spec.downsample}-{model.spec.backbone.stage1}-{model.spec.factors}",
)
def test_two_windows_agree_in_every_frame_but_those_that_padding_has_spoilt(model: EAT) -> None:
    """After each block, what it says is spoilt gives way to noise, lest it fade with depth."""
    randomize(model)
    n, hop = model.spec.n_samples, 2 * model.spec.stride
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator)

    sound = noise(1, 1, n + hop)
    old, new = sound[..., :n], sound[..., hop:]
    for name, spoilt in streaming_bound.spoilt_frames(model).items():
        with torch.no_grad():
            old, new = (model.get_submodule(name)(x) for x in (old, new))
        shift, n_frames = hop // spoilt.stride, n // spoilt.stride
        assert new.shape[-1] == n_frames, name
        differs = (new[..., :-shift] - old[..., shift:]).abs().amax((0, 1))
        same = (differs < 1e-11 * new.abs().max()).nonzero().flatten().tolist()
        assert same == list(range(spoilt.before, n_frames - shift - spoilt.after)), name
        for x in (old, new):
            x[..., : spoilt.before] = noise(1, x.shape[1], spoilt.before)
            x[..., n_frames - spoilt.after :] = noise(1, x.shape[1], spoilt.after)


def test_a_bound_by_hand() -> None:
    model = EAT(preset("eat-s-gmme-k32c8", "esc50"))
    spoilt = streaming_bound.spoilt_frames(model)
    assert (spoilt["stem"].samples, spoilt["stage1.5"].samples) == (6, 1792)
    assert spoilt["stage2.1"].samples == 1792 + 2 * (7 + 21) * 256
    found = streaming_bound.bound(model, {"stem": 1.0, "stage2.1": 2.0, "head": 1.0, "engine": 9.0})
    own = 0.1 + spoilt["stage2.1"].samples / 114_688
    before = own - 2 * 21 * 256 / 114_688
    assert found["with_own_reach"] == pytest.approx((0.1 + 6 / 114_688 + 2 * own + 1) / 4)
    assert found["at_least"] == pytest.approx((0.1 + 2 * before + 1) / 4)
    assert found["without_edges"] == pytest.approx((0.1 + 0.2 + 1) / 4)
