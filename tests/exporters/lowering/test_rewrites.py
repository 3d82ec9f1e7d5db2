"""Every rewrite leaves the function as it is: float64 in torch, float32 in ONNX Runtime."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gmme_edge.errors import UsageError
from gmme_edge.models.eat import EAT
from gmme_edge.spec import Downsample, ModelSpec, preset
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.lowering.front import FrontInPieces, split_front
from gmme_exporters.lowering.gmme import MaxPReLU, NeighbourConv, lower_prelu, relay_gmme
from gmme_exporters.lowering.gmme_int8 import GroupedConv
from gmme_exporters.lowering.head import lower_head
from gmme_exporters.lowering.planes import to_planes
from gmme_exporters.lowering.targets import TARGETS, Rewrite, lower, rewrites_of, target_of
from tests.conftest import TINY
from tests.models.random_weights import randomize

LISTS: dict[str, tuple[Rewrite, ...]] = {
    "planes": (to_planes,),
    "front": (to_planes, split_front),
    "tiles": (to_planes, partial(split_front, tile_samples=2048)),
    "gmme": (to_planes, relay_gmme),
    "head": (lower_head,),
    **{name: rewrites_of(name) for name in (*TARGETS, "ort-cpu-int8") if name != "generic"},
}
DOWNS = st.one_of(
    st.just(Downsample("aa")),
    st.builds(
        Downsample, st.sampled_from(["gmme", "gmme-lite"]),
        st.sampled_from([4, 6, 8, 16]), st.sampled_from([2, 4, 8, 16, 32]),
    ),
)  # fmt: skip
SPECS = st.builds(
    lambda down, factors, extra, stage1: replace(
        TINY, downsample=down, factors=factors,
        backbone=replace(TINY.backbone, stage1=stage1),
        n_samples=4 * int(np.prod(factors)) * (32 + extra),
    ),
    DOWNS, st.sampled_from([(4,), (2, 3), (5, 2), (4, 4), (3, 2, 2)]), st.integers(0, 9),
    st.sampled_from(["aa", "separable"]),
)  # fmt: skip


def network(spec: ModelSpec, seed: int) -> EAT:
    model = EAT(spec)
    randomize(model, seed)
    return model.double()


@pytest.mark.parametrize("name", LISTS)
@given(spec=SPECS, seed=st.integers(0, 99), batch=st.integers(1, 3))
@settings(max_examples=12, deadline=None)
@torch.no_grad()
def test_float64_output_is_unchanged(name: str, spec: ModelSpec, seed: int, batch: int) -> None:
    model = network(spec, seed)
    lowered = copy.deepcopy(model)
    for rewrite in LISTS[name]:
        rewrite(lowered)
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(batch, 1, spec.n_samples, generator=generator, dtype=torch.float64)
    for before, after in ((model, lowered), (model.embed, lowered.embed)):
        expected, got = before(clips), after(clips)
        assert (got - expected).abs().max() <= 1e-11 * expected.abs().max()


@pytest.mark.parametrize("opset", [17, pytest.param(18, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["aa", "gmme", "gmme-lite"])
def test_float32_output_in_onnx_runtime(tmp_path: Path, kind: str, opset: int) -> None:
    down = Downsample("aa") if kind == "aa" else Downsample(kind, 8, 4)  # type: ignore[arg-type]
    model = EAT(replace(TINY, downsample=down))
    randomize(model, seed=4)  # weights for which float32 itself is within 1e-6
    path = tmp_path / "lowered.onnx"
    export_onnx(lower(model, "ort-cpu"), path, opset)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    clips = np.random.default_rng(0).standard_normal((3, TINY.n_samples)).astype(np.float32)
    scaled = 0.95 * clips / np.abs(clips).max(1, keepdims=True)
    with torch.no_grad():
        wide, exact = copy.deepcopy(model).double(), torch.from_numpy(scaled)[:, None].double()
        expected = wide(exact).numpy(), wide.embed(exact).numpy()
    for batch in (1, 3):
        got = session.run(["logits", "embedding"], {"waveform": clips[:batch]})
        for values, wanted in zip(got, expected, strict=True):
            assert np.abs(values - wanted[:batch]).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("factors", [(2,), (9,), (2, 2, 2, 2, 2), (4, 4, 4), (3, 2, 5)])
def test_edges_are_a_small_part_of_the_shortest_clip(factors: tuple[int, ...]) -> None:
    shortest = 128 * int(np.prod(factors))
    front = lower(EAT(replace(TINY, factors=factors, n_samples=shortest)), "ort-cpu").stage1
    assert isinstance(front, FrontInPieces)
    assert front.edge.samples <= shortest / 8


def test_edges_reach_no_further_than_computed() -> None:
    """One frame less at either end would be wrong: the reach is exact, not only safe."""
    model = network(replace(TINY, n_samples=32768), seed=1)
    lowered = copy.deepcopy(model)
    to_planes(lowered)
    split_front(lowered)
    front = lowered.get_submodule("stage1")
    assert isinstance(front, FrontInPieces)
    assert front.edge.stride == 64
    clips = torch.randn(1, 1, 32768, dtype=torch.float64)
    with torch.no_grad():
        expected = model.stage1(model.stem(clips))
        assert torch.allclose(front(clips)[:, :, 0], expected, rtol=0, atol=1e-12)
        front.edge = replace(front.edge, before=front.edge.before - 1)
        assert not torch.allclose(front(clips)[:, :, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("tile_samples", "n_tiles", "n_tiled"),
    [(1000, 33, 1), (4096, 8, 2), (20000, 2, 4), (10**6, 1, 4)],
)
def test_tiles_reach_no_further_than_computed(
    tile_samples: int, n_tiles: int, n_tiled: int
) -> None:
    model = network(replace(TINY, n_samples=32768), seed=1)
    lowered = copy.deepcopy(model)
    to_planes(lowered)
    split_front(lowered, tile_samples)
    front = lowered.get_submodule("stage1")
    assert isinstance(front, FrontInPieces)
    assert (front.n_tiles, front.n_tiled) == (n_tiles, n_tiled)
    clips = torch.randn(1, 1, 32768, dtype=torch.float64)
    with torch.no_grad():
        expected = model.stage1(model.stem(clips))
        assert torch.allclose(front(clips)[:, :, 0], expected, rtol=0, atol=1e-12)
        front.tile = replace(front.tile, before=front.tile.before - 1)
        same = torch.allclose(front(clips)[:, :, 0], expected, rtol=0, atol=1e-12)
        assert same == (n_tiles == 1)


def test_neighbours_fill_the_lanes() -> None:
    lowered = lower(EAT(replace(TINY, downsample=Downsample("gmme", 8, 8))), "ort-cpu")
    convs = [module for module in lowered.modules() if isinstance(module, NeighbourConv)]
    assert len(convs) == 6
    assert {conv.weight.shape[0] for conv in convs} <= {16, 32}


@pytest.mark.parametrize(("slope", "as_maximum"), [(0.25, True), (1.0, True), (-0.1, False)])
def test_a_slope_outside_of_0_to_1_stays_a_prelu(slope: float, as_maximum: bool) -> None:
    act = nn.PReLU(3, slope)
    lowered = lower_prelu(act)
    assert isinstance(lowered, MaxPReLU) == as_maximum
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(lowered(x), act(x))


def test_an_unknown_target_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="ort-cpu, ort-arm, tensorrt, generic"):
        lower(EAT(TINY), "abacus")


def test_int8_is_shaped_for_the_kernels_that_run_it() -> None:
    assert target_of("int8-tensorrt", "ort-cpu") == "tensorrt"
    assert target_of("int8-tensorrt", "generic") == "generic"
    assert target_of("int8-ort", "ort-cpu") == "ort-cpu-int8"
    assert target_of("int8-ort", "tensorrt") == "tensorrt"
    assert target_of("fp16", "ort-cpu") == "ort-cpu"


@pytest.mark.parametrize(("kind", "long"), [("gmme", 5), ("gmme-lite", 3)])
def test_samples_become_channels_for_integers(kind: str, long: int) -> None:
    """Groups of 16 samples for long kernels, of 8 for the others."""
    spec = preset(f"eat-s-{kind}-k32c8", "speech-commands")
    lowered = lower(EAT(spec), "ort-cpu-int8")
    convs = [module for module in lowered.modules() if isinstance(module, GroupedConv)]
    shapes = {tuple(conv.weight.shape[i] for i in (0, 1, 3)) for conv in convs}
    assert shapes == {(64, 16, long), (16, 8, 3)}
    assert len(convs) == 6


def test_the_head_has_no_node_that_is_slower_than_its_parts(tmp_path: Path) -> None:
    export_onnx(lower(EAT(TINY), "ort-cpu"), tmp_path / "lowered.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(
        tmp_path / "lowered.onnx", options, providers=["CPUExecutionProvider"]
    )
    found = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "BiasGelu" in found and "LayerNormalization" in found
    assert not found & {"Erf", "SkipLayerNormalization"}
