"""Cross-layer equalisation: the channels of a tensor get ranges alike, and the function stays.

    f(W₂ · f(W₁x))   =   f(W₂s⁻¹ · f(sW₁x))        f(s·x) = s·f(x) for s > 0

An 8-bit tensor has one step for all of its channels, so a channel far below the loudest has few
values left. LeakyReLU, anti-alias filters and sums hand a factor on as it is, so between two layers
with weights a channel may be scaled at will (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 4.1). GMME's gates and its convolutions
across channels do not: what a GMME block reads or writes stays as it is.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from gmme_calibration.sample import Windows
from gmme_edge.audio import Waveform
from gmme_edge.models.downsample import AADown, SeparableDown
from gmme_edge.models.eat import EAT, ResBlock, Stem, peak_scale

# s = peak^−power, by measurement (docs/explanation/precision.md). What evens out channels makes
# the weights
# that read them uneven, and those of int8-ort have 7 bits: half of it is better there.
_POWERS = {"int8-ort": 0.5, "int8-tensorrt": 1.0}
_CLIPS = 32
_LEAST = 1e-4  # a channel that is as good as silent stays so


@torch.no_grad()
def equalize(model: EAT, waveforms: Waveform | Windows, precision: str) -> EAT:
    """A copy of `model` in eval mode whose stem and stages are equalised.

    Args:
        waveforms: calibration clips, shape ``(n, n_samples)``; some of them set the factors.
        precision: ``int8-ort`` or ``int8-tensorrt``.
    """
    model = copy.deepcopy(model).eval()
    blocks = [model.stem, *model.stage1, *model.stage2, model.project]
    peaks = _peaks(model, [part for block in blocks for part in _writers(block)], waveforms)
    for before, behind in pairwise(blocks):
        writers, readers = _writers(before), _readers(behind)
        if writers and readers:
            loudness = torch.stack([_relative(peaks[part]) for part in writers]).amax(dim=0)
            factors = loudness.clamp_min(_LEAST) ** -_POWERS[precision]
            _scale(writers, readers, factors / factors.log().mean().exp())
    return model


def _writers(block: nn.Module) -> list[nn.Module]:
    """What a block's output channels are sums of, apart from homogeneous functions."""
    if isinstance(block, Stem | AADown | SeparableDown):
        return [block.norm]
    if isinstance(block, ResBlock):
        return [block.shortcut, block.point_norm, block.depth_norm]
    return []


def _readers(block: nn.Module) -> list[nn.Conv1d]:
    """The convolutions that read a block's input."""
    if isinstance(block, nn.Conv1d):
        return [block]
    if isinstance(block, AADown):
        return [block.conv]
    if isinstance(block, SeparableDown):
        return [block.depth]
    return [block.shortcut, block.point, block.depth] if isinstance(block, ResBlock) else []


def _peaks(
    model: EAT, parts: list[nn.Module], waveforms: Waveform | Windows
) -> dict[nn.Module, Tensor]:
    """Per part and channel the mean over clips of the largest absolute value."""
    found: dict[nn.Module, list[Tensor]] = {part: [] for part in parts}

    def note(part: nn.Module, _: object, output: Tensor) -> None:
        found[part].append(output.abs().amax(dim=(0, 2)))

    hooks = [part.register_forward_hook(note) for part in parts]
    for i in np.unique(np.linspace(0, len(waveforms) - 1, _CLIPS).astype(int)):
        clip = torch.from_numpy(waveforms[i : i + 1]).to(model.position)
        model.embed(peak_scale(clip).unsqueeze(1))
    for hook in hooks:
        hook.remove()
    return {part: torch.stack(values).mean(0) for part, values in found.items()}


def _relative(peaks: Tensor) -> Tensor:
    return peaks / peaks.max().clamp_min(1e-30)


def _scale(writers: list[nn.Module], readers: list[nn.Conv1d], factors: Tensor) -> None:
    for part in writers:
        weight, bias = part.get_parameter("weight"), part.get_parameter("bias")
        weight.mul_(factors.view(-1, *[1] * (weight.ndim - 1)))
        bias.mul_(factors)
    for conv in readers:
        conv.weight.div_(factors[:, None, None] if conv.groups > 1 else factors[None, :, None])
