"""Specs: the published numbers, what is refused, and dictionaries in and out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gmme_edge.complexity import count
from gmme_edge.errors import GmmeEdgeError, InputError, UsageError
from gmme_edge.spec import (
    BACKBONES,
    PRESETS,
    TASKS,
    Backbone,
    Downsample,
    ModelSpec,
    parse_preset,
    preset,
)
from tests.conftest import TINY

# ../shared/reference/model-spec.md: #D and #T per task.
PARAMETERS = {
    ("eat-s-aa", "esc50"): (1_969_152, 5_183_618),
    ("eat-s-aa", "urbansound8k"): (1_969_152, 5_175_386),
    ("eat-s-aa", "speech-commands"): (493_056, 1_971_955),
    ("eat-s-gmme-k32c8", "esc50"): (17_496, 3_231_962),
    ("eat-s-gmme-k32c8", "urbansound8k"): (17_496, 3_223_730),
    ("eat-s-gmme-k32c8", "speech-commands"): (17_496, 1_496_395),
    ("eat-s-gmme-k32c16", "esc50"): (34_984, 3_249_450),
    ("eat-s-gmme-k32c16", "urbansound8k"): (34_984, 3_241_218),
    ("eat-s-gmme-k32c16", "speech-commands"): (34_984, 1_513_883),
    ("eat-s-gmme-k64c16", "esc50"): (67_752, 3_282_218),
    ("eat-s-gmme-k64c16", "urbansound8k"): (67_752, 3_273_986),
    ("eat-s-gmme-k64c16", "speech-commands"): (67_752, 1_546_651),
}
LITE_D = {"k32c8": 4_352, "k32c16": 8_696, "k64c16": 16_888}
GFLOPS = {
    "esc50": {
        "eat-s-aa": 5.02,
        "eat-s-gmme-k32c8": 4.96, "eat-s-gmme-k32c16": 5.96, "eat-s-gmme-k64c16": 7.84,
        "eat-s-gmme-lite-k32c8": 4.20, "eat-s-gmme-lite-k32c16": 4.45,
        "eat-s-gmme-lite-k64c16": 4.92,
    },
    "speech-commands": {
        "eat-s-aa": 0.72,
        "eat-s-gmme-k32c8": 0.85, "eat-s-gmme-k32c16": 1.14, "eat-s-gmme-k64c16": 1.67,
        "eat-s-gmme-lite-k32c8": 0.64, "eat-s-gmme-lite-k32c16": 0.70,
        "eat-s-gmme-lite-k64c16": 0.84,
    },
}  # fmt: skip

PUBLISHED = [name for name in PRESETS if "edge" not in name]


@pytest.mark.parametrize(("name", "task"), PARAMETERS)
def test_published_parameters(name: str, task: str) -> None:
    complexity = count(preset(name, task))
    assert (complexity.d_params, complexity.t_params) == PARAMETERS[name, task]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", LITE_D)
def test_lite_parameters(task: str, size: str) -> None:
    assert count(preset(f"eat-s-gmme-lite-{size}", task)).d_params == LITE_D[size]


@pytest.mark.parametrize(("task", "rest"), [("esc50", 3_214_466), ("urbansound8k", 3_206_234)])
def test_everything_but_the_downsampling_is_the_same(task: str, rest: int) -> None:
    counts = [count(preset(name, task)) for name in PUBLISHED if name.startswith("eat-s")]
    assert {c.t_params - c.d_params for c in counts} == {rest}


@pytest.mark.parametrize("task", GFLOPS)
def test_published_gflops(task: str) -> None:
    counted = {name: f"{count(preset(name, task)).gflops:.2f}" for name in GFLOPS[task]}
    assert counted == {name: f"{gflops:.2f}" for name, gflops in GFLOPS[task].items()}


@pytest.mark.parametrize(
    ("task", "tokens", "rate_hz", "n_classes"),
    [("esc50", 112, 22_050, 50), ("urbansound8k", 88, 22_050, 10),
     ("speech-commands", 64, 16_000, 35)],
)  # fmt: skip
def test_tasks(task: str, tokens: int, rate_hz: int, n_classes: int) -> None:
    spec = preset("eat-s-aa", task)
    assert (spec.tokens, spec.sample_rate_hz, spec.n_classes) == (tokens, rate_hz, n_classes)
    assert preset("eat-s-aa", task, n_classes=7) == replace(spec, n_classes=7)


def _family(spec: ModelSpec) -> str:
    return next(name for name, backbone in BACKBONES.items() if backbone == spec.backbone)


def test_presets_are_distinct_and_keep_their_names() -> None:
    specs = [preset(name, "esc50") for name in PRESETS]
    assert len(set(PRESETS)) == len(PRESETS) == 16
    assert [spec.name for spec in specs] == list(PRESETS)
    assert [f"{_family(spec)}-{spec.downsample}" for spec in specs] == [*PRESETS]
    assert preset("eat-m-aa", "esc50").backbone == Backbone(32, 256, 2048, 6, 16)


def test_the_fast_family_is_smaller_than_gmme_and_says_so_in_its_files() -> None:
    for task in TASKS:
        fast, gmme = (preset(f"eat-s-{kind}-k32c8", task) for kind in ("edge-gmme-lite", "gmme"))
        assert count(fast).t_params < count(gmme).t_params
        assert count(fast).flops < 0.65 * count(gmme).flops
        assert ModelSpec.from_dict(fast.to_dict()) == fast
        assert fast.to_dict()["backbone"]["stage1"] == "separable"
        assert "stage1" not in gmme.to_dict()["backbone"]  # read by versions before it


def test_an_unknown_stage_1_is_refused() -> None:
    with pytest.raises(UsageError, match="stage 1"):
        Backbone(16, 128, 512, 3, 8, "strided")  # type: ignore[arg-type]


def test_preset_pattern_takes_other_sizes() -> None:
    assert parse_preset("eat-m-gmme-lite-k10c6")[1] == Downsample("gmme-lite", 10, 6)


@pytest.mark.parametrize(
    "name",
    ["", "eat-s", "eat-l-aa", "eat-s-gmme", "eat-s-gmme-k32", "eat-s-aa-k32c8", "EAT-S-AA",
     "eat-s-gmme-k32c8 ", "eat-s-gmme-k31c8", "eat-s-gmme-k32c7", "eat-s-gmme-k2c8",
     "eat-s-gmme-k32c0", "eat-s-gmme-k" + "9" * 5000 + "c8"],
)  # fmt: skip
def test_unknown_presets_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        preset(name, "esc50")


def test_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="esc50, urbansound8k, speech-commands"):
        preset("eat-s-aa", "esc51")


def test_shortest_clip() -> None:
    """64·2·prod(factors) samples run; one token fewer does not."""
    assert replace(TINY, n_samples=64 * 2 * 64).min_samples == 8192
    with pytest.raises(UsageError, match="too short") as caught:
        replace(TINY, n_samples=8192 - 256)
    assert "8192 samples" in str(caught.value)


def test_partial_token_names_the_next_length() -> None:
    with pytest.raises(UsageError, match="use 8448 samples"):
        replace(TINY, n_samples=8193)


@pytest.mark.parametrize(
    "changes",
    [
        {"factors": ()},
        {"factors": (4, 1)},
        {"factors": (4, -4, -4)},
        {"n_classes": 0},
        {"sample_rate_hz": 0},
        {"n_samples": -8192},
        {"backbone": Backbone(4, 32, 64, 2, 5)},
        {"backbone": Backbone(0, 32, 64, 2, 4)},
        {"backbone": Backbone(4, 32, 64, 0, 4)},
        {"backbone": Backbone(4, 32, 64, 2, 0)},
    ],
    ids=str,
)
def test_impossible_specs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="tiny"):
        replace(TINY, **changes)


@pytest.mark.parametrize("values", [("conv", 0, 0), ("gmme", 0, 0), ("gmme", 33, 8), ("aa", 0, 3)])
def test_impossible_downsampling_is_refused(values: tuple[Any, int, int]) -> None:
    with pytest.raises(UsageError):
        Downsample(*values)


downsamples = st.one_of(
    st.just(Downsample("aa")),
    st.builds(
        Downsample,
        st.sampled_from(["gmme", "gmme-lite"]),
        st.integers(2, 40).map(lambda k: 2 * k),
        st.integers(1, 20).map(lambda c: 2 * c),
    ),
)


MOST_SAMPLES = 1 << 24


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    heads = draw(st.integers(1, 8))
    factors = tuple(draw(st.lists(st.integers(2, 9), min_size=1, max_size=5)))
    stride = 4 * math.prod(factors)
    return ModelSpec(
        draw(st.text()),
        Backbone(
            draw(st.integers(1, 64)), heads * draw(st.integers(1, 32)), draw(st.integers(1, 999)),
            draw(st.integers(1, 9)), heads,
        ),
        draw(downsamples),
        draw(st.integers(1, 192_000)),
        stride * draw(st.integers(32, min(200, MOST_SAMPLES // stride))),
        factors,
        draw(st.integers(1, 999)),
    )  # fmt: skip


def test_the_longest_clip() -> None:
    longest = replace(TINY, n_samples=MOST_SAMPLES)
    with pytest.raises(UsageError, match="at most 16777216"):
        replace(longest, n_samples=MOST_SAMPLES + longest.stride)


@given(specs())
def test_dict_round_trip(spec: ModelSpec) -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = [
    *((key,) for key in TINY.to_dict()),
    *(("backbone", key) for key in (*TINY.to_dict()["backbone"], "another")),
    *(("downsample", key) for key in (*TINY.to_dict()["downsample"], "another")),
]


@pytest.mark.parametrize("downsample", [Downsample("aa"), Downsample("gmme", 8, 4)], ids=str)
@pytest.mark.parametrize("field", FIELDS, ids=".".join)
@settings(max_examples=10)
@given(value=json_values)
@example(value=math.inf)
@example(value=math.nan)
@example(value=8.0)
@example(value="8")
@example(value=None)
@example(value=[])
def test_damaged_dict_raises_this_projects_error_or_gives_a_sound_spec(
    downsample: Downsample, field: tuple[str, ...], value: object
) -> None:
    values = replace(TINY, downsample=downsample).to_dict()
    parent = values
    for key in field[:-1]:
        parent = parent[key]
    parent[field[-1]] = value
    try:
        spec = ModelSpec.from_dict(values)
    except GmmeEdgeError:
        return
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    sizes = [*spec.to_dict()["backbone"].values(), spec.downsample.kernel, spec.downsample.channels]
    assert all(type(size) is int for size in sizes)


@pytest.mark.parametrize("field", sorted(TINY.to_dict()))
def test_missing_field_is_named(field: str) -> None:
    values = TINY.to_dict()
    del values[field]
    with pytest.raises(InputError, match=field):
        ModelSpec.from_dict(values)
