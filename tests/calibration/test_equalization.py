"""Equalisation leaves the network's function as it is, and makes it easier to round."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_calibration.equalization import equalize
from gmme_edge.models.eat import EAT, ResBlock, peak_scale
from gmme_edge.spec import ModelSpec
from gmme_exporters.bundle import export_bundle
from gmme_exporters.int8.qdq import Refinement
from gmme_exporters.options import ExportOptions
from tests.artifacts import calibration, calibration_clips, open_checkpoint, sounds
from tests.conftest import DOWNSAMPLES, TINY
from tests.models.random_weights import randomize

FLAVOURS = ("int8-ort", "int8-tensorrt")


def network(spec: ModelSpec, seed: int) -> EAT:
    """Random, with channels 40 dB apart in front of every layer that can make up for it."""
    model = EAT(spec).eval()
    randomize(model, seed)
    generator = torch.Generator().manual_seed(seed)
    for block in (model.stem, *model.stage1):
        if isinstance(block, ResBlock):
            continue
        factors = 10 ** (2 * torch.rand(len(block.norm.weight), generator=generator) - 2)
        block.norm.weight.data *= factors
        block.norm.bias.data *= factors
    return model


def clips(spec: ModelSpec, count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, spec.n_samples)).astype(np.float32)


def peaks(model: EAT, waveforms: np.ndarray) -> dict[str, torch.Tensor]:
    """Per anti-alias block and channel the mean over clips of the largest absolute value."""
    found: dict[str, list[torch.Tensor]] = {}
    for name, part in model.named_modules():
        if name.endswith(".norm") and "stage" in name:
            part.register_forward_hook(
                lambda _part, _input, y, name=name: found.setdefault(name, []).append(
                    y.abs().amax(dim=(0, 2))
                )
            )
    with torch.no_grad():
        for clip in waveforms:
            model.embed(peak_scale(torch.from_numpy(clip))[None, None])
    return {name: torch.stack(values).mean(0) for name, values in found.items()}


@pytest.mark.parametrize("flavour", FLAVOURS)
@given(down=st.sampled_from(DOWNSAMPLES), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
@torch.no_grad()
def test_float64_output_is_unchanged(flavour: str, down, seed: int) -> None:  # noqa: ANN001
    model = network(replace(TINY, downsample=down), seed).double()
    waveforms = clips(model.spec)
    before = copy.deepcopy(model.state_dict())
    equalized = equalize(model, waveforms, flavour)
    changed = {
        name.rpartition(".")[0]
        for name, value in equalized.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {"stem.norm", "stage1.0.conv", "stage1.1.depth"} <= changed
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x = torch.from_numpy(waveforms).double()[:, None]
    wanted = model(x)
    assert (equalized(x) - wanted).abs().max() < 1e-11 * wanted.abs().max()


def test_channels_that_one_layer_writes_end_alike() -> None:
    model = network(replace(TINY, downsample=DOWNSAMPLES[1]), 3)
    waveforms = clips(model.spec, 40)
    before = peaks(copy.deepcopy(model), waveforms)
    # All 40 clips are heard here, 32 of them by `equalize`.
    after = peaks(equalize(model, waveforms, "int8-tensorrt"), waveforms)
    assert set(after) == {"stage1.0.norm", "stage1.2.norm", "stage1.3.norm"}
    for name, values in after.items():
        assert before[name].max() > 10 * before[name].min(), name
        assert values.max() < 1.1 * values.min(), name


def test_gmme_blocks_and_what_they_read_are_left_alone() -> None:
    model = network(replace(TINY, downsample=DOWNSAMPLES[1]), 4)
    equalized = equalize(model, clips(model.spec), "int8-tensorrt")
    for name in ("stage2.2.shortcut", "stage2.3", "stage2.6.depth_norm", "stage2.7", "project"):
        old, new = model.get_submodule(name), equalized.get_submodule(name)
        written = new.state_dict()
        if name.endswith("shortcut"):  # scaled by channels that it reads, not by those it writes
            assert torch.equal(old.bias, new.bias)
            continue
        assert all(torch.equal(value, written[key]) for key, value in old.state_dict().items())


def test_a_silent_channel_stays_finite() -> None:
    model = network(replace(TINY, downsample=DOWNSAMPLES[0]), 5)
    model.stem.norm.weight.data[0] = model.stem.norm.bias.data[0] = 0
    for flavour in FLAVOURS:
        values = equalize(model, clips(model.spec), flavour).state_dict().values()
        assert all(torch.isfinite(value).all() for value in values)


def test_int8_of_an_uneven_network_errs_less(root: Path, tmp_path: Path) -> None:
    """By both flavours, everything quantized, against torch on clips that did not calibrate."""
    checkpoint = open_checkpoint(root, "aa")
    model = copy.deepcopy(checkpoint.model)
    factors = torch.tensor([1, 1e-2] * (len(model.stem.norm.weight) // 2))
    model.stem.norm.weight.data *= factors
    model.stem.norm.bias.data *= factors
    model.stage1[0].conv.weight.data /= factors[:, None]
    uneven = replace(checkpoint, model=model)
    errors: dict[bool, list[float]] = {}
    for equalized in (False, True):
        how = replace(
            calibration(),
            refine=lambda _: Refinement(),
            equalize=(lambda net, flavour: equalize(net, calibration_clips().waveforms, flavour))
            if equalized
            else None,
        )
        options = ExportOptions(FLAVOURS, opset=17, target="generic", max_error=100)
        bundle = export_bundle(uneven, tmp_path / f"{equalized}", options, sounds(), how)
        notes = bundle.manifest.provenance["quantization"]
        assert all(notes[flavour]["equalized"] is equalized for flavour in FLAVOURS)
        errors[equalized] = [bundle.manifest.parity[name]["mean_abs"] for name in FLAVOURS]
    assert all(new < old / 2 for old, new in zip(errors[False], errors[True], strict=True)), errors
