"""The batched augmentation against one clip at a time, one augmentation after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.training.feed.augment import Plan, apply_plan, augment, draw_plan
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe

RECIPE = Recipe(epochs=1)
RATE = 1000  # shifts and parts of up to 100 samples


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(n_clips: int, n_samples: int, seed: int = 0, recipe: Recipe = RECIPE) -> Plan:
    return draw_plan(recipe, RATE, n_samples, Rows.all(n_clips), generator(seed))


def one_clip(clip: np.ndarray, plan: Plan, row: int) -> np.ndarray:
    """The definition: each augmentation on its own, in the drawn order."""
    n = len(clip)
    p = {field.name: getattr(plan, field.name)[row].numpy() for field in fields(plan)}
    x = fraction_later(clip, float(p["fraction"]))

    def shift() -> np.ndarray:
        return np.array([x[i - p["delay"]] if 0 <= i - p["delay"] < n else 0.0 for i in range(n)])

    def scale_part(start: int, length: int, factor: float) -> np.ndarray:
        return np.array([x[i] * (factor if start <= i < start + length else 1) for i in range(n)])

    in_order = {
        p["place"][0]: shift,
        p["place"][1]: lambda: scale_part(p["mask_start"], p["mask_length"], 0.0),
        p["place"][2]: lambda: scale_part(
            p["segment_start"], p["segment_length"], p["segment_gain"]
        ),
        p["place"][3]: lambda: np.roll(x, p["cycle"]),
    }
    for place in range(4):
        x = in_order[place]()
    return x * p["gain"] * p["sign"]


def fraction_later(clip: np.ndarray, fraction: float) -> np.ndarray:
    """The clip's trigonometric interpolation, read a fraction of a sample earlier."""
    n = len(clip)
    time, k = np.arange(n), np.arange(-(n // 2), n - n // 2)
    coefficients = np.exp(-2j * np.pi * np.outer(k, time) / n) @ clip / n
    if fraction and n % 2 == 0:  # the highest frequency stands for both signs
        coefficients[0] *= np.cos(np.pi * fraction) / np.exp(1j * np.pi * fraction)
    return (np.exp(2j * np.pi * np.outer(time - fraction, k) / n) @ coefficients).real


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(0, 2**31))
def test_any_order_is_one_shift_and_one_product(n_samples: int, seed: int) -> None:
    clips = torch.randn(6, n_samples, generator=generator(seed), dtype=torch.float64)
    plan = draw(6, n_samples, seed, replace(RECIPE, augment_probability=0.8, shift_s=0.04))
    result = apply_plan(clips, plan)
    for row in range(6):
        wanted = one_clip(clips[row].numpy(), plan, row)
        np.testing.assert_allclose(result[row].numpy(), wanted, atol=1e-12)


def test_every_order_is_applied() -> None:
    """24 clips, one per order, with all augmentations on."""
    plan = draw(2000, 60, recipe=replace(RECIPE, augment_probability=1.0, shift_s=0.02))
    orders = [tuple(row) for row in plan.place.tolist()]
    rows = [orders.index(order) for order in sorted(set(orders))]
    assert len(rows) == 24
    clips = torch.randn(2000, 60, generator=generator(), dtype=torch.float64)
    result = apply_plan(clips, plan)
    for row in rows:
        wanted = one_clip(clips[row].numpy(), plan, row)
        np.testing.assert_allclose(result[row].numpy(), wanted, atol=1e-12)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return draw(4000, 1000)


def test_each_is_drawn_half_the_time_on_its_own(plan: Plan) -> None:
    """4,000 clips, limits of 5 standard errors."""
    on = np.array([
        plan.gain != 1, plan.sign < 0, (plan.delay != 0) | (plan.fraction != 0),
        plan.cycle != 0, plan.mask_length > 0, plan.segment_length > 0,
    ])  # fmt: skip
    assert abs(on.mean(axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(4000)
    assert abs(np.corrcoef(on) - np.eye(6)).max() < 5 / np.sqrt(4000)
    orders = Counter(tuple(row) for row in plan.place.tolist())
    assert len(orders) == 24 and min(orders.values()) > 4000 / 24 - 5 * np.sqrt(4000 / 24)


def test_drawn_values_fill_their_ranges(plan: Plan) -> None:
    def check(values: torch.Tensor, low: float, high: float) -> None:
        drawn, width = values.double(), high - low
        assert low <= drawn.min() < low + 0.01 * width
        assert high - 0.01 * width < drawn.max() <= high
        error = 5 * width / np.sqrt(12 * len(drawn))
        assert float(drawn.mean()) == pytest.approx((low + high) / 2, abs=error)

    check(plan.gain[plan.gain != 1], 0.5, 1.3)
    check(plan.segment_gain, 0.5, 1.3)
    check((plan.delay + plan.fraction)[plan.delay != 0], -100, 100)
    check(plan.fraction[plan.fraction != 0], -0.5, 0.5)
    check(plan.cycle[plan.cycle != 0], 0, 1000)
    check(plan.mask_start[plan.mask_length > 0], 0, 900)
    check(plan.segment_start[plan.segment_length > 0], 0, 900)
    assert set(plan.mask_length.tolist()) == {0, 100} == set(plan.segment_length.tolist())


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5, 7])
def test_very_short_clips(n_samples: int) -> None:
    clips = torch.randn(64, n_samples, generator=generator())
    result = augment(clips, RECIPE, 48_000, Rows.all(64), generator())
    assert result.shape == clips.shape and result.isfinite().all()
    assert n_samples == 1 or (result.abs().amax(1) > 0).float().mean() > 0.8, "clips were wiped out"


def test_silence_stays_silence() -> None:
    silence = torch.zeros(64, 500)
    result = augment(silence, RECIPE, RATE, Rows.all(64), generator())
    assert torch.equal(result, silence)


def test_double_precision_agrees() -> None:
    clips = torch.randn(32, 700, generator=generator())
    single = augment(clips, RECIPE, RATE, Rows.all(32), generator(3))
    double = augment(clips.double(), RECIPE, RATE, Rows.all(32), generator(3))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    np.testing.assert_allclose(single, double, atol=2e-5)


def test_input_is_not_written_to() -> None:
    clips = torch.randn(32, 700, generator=generator())
    before = clips.clone()
    for seed in range(5):
        augment(clips, RECIPE, RATE, Rows.all(32), generator(seed))
    assert torch.equal(clips, before)


def test_a_function_of_the_generator() -> None:
    clips = torch.randn(16, 300, generator=generator())
    first, again, other = (
        augment(clips, RECIPE, RATE, Rows.all(16), generator(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("seed", range(4))
def test_processes_share_a_batch(seed: int) -> None:
    """Rows 0–3 and 4–7 of 8, each on its own, are the whole batch's."""
    clips = torch.randn(8, 3000, generator=generator(seed))
    whole = augment(clips, RECIPE, 16_000, Rows.all(8), generator(seed))
    parts = [
        augment(clips[start : start + 4], RECIPE, 16_000, Rows(8, start, start + 4),
                generator(seed))
        for start in (0, 4)
    ]  # fmt: skip
    np.testing.assert_allclose(torch.cat(parts), whole, rtol=1e-5, atol=1e-6)


def test_switched_off() -> None:
    clips = torch.randn(8, 300, generator=generator())
    off = replace(RECIPE, augment=False)
    assert torch.equal(augment(clips, off, RATE, Rows.all(8), generator()), clips)
    never = replace(RECIPE, augment_probability=0.0)
    assert torch.equal(augment(clips, never, RATE, Rows.all(8), generator()), clips)
    plain = augment(clips, replace(RECIPE, noise=False), RATE, Rows.all(8), generator())
    assert torch.equal(plain, apply_plan(clips, draw(8, 300)))
