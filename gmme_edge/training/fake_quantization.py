"""A network that computes in float32 what its INT8 export will, with gradients.

Every convolution and linear layer rounds its inputs and its weight, a convolution in ``int8-ort``
its output too, to the steps that the exporter's Q/DQ pairs have there; attention's products round
their inputs in ``int8-tensorrt``. Rounding passes gradients on as they are, and none where a range
cuts a value off (arXiv 1712.05877).

A BatchNorm that export folds into the convolution before it does not move the weight's steps: each
output channel has its own, proportional to its largest weight, and is folded by one factor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.blocks import FILTERS_OF_FRONT, block_of, choose_blocks
from gmme_edge.models.convolution import Conv1d
from gmme_edge.models.downsample import AADown, Blur, SameConv2d, SeparableDown
from gmme_edge.models.eat import EAT, EncoderLayer

Dialect = Literal["int8-ort", "int8-tensorrt"]

_OWN = "quantizers"  # the attribute, and part of the keys, of what is added to a module
_LARGEST_WEIGHT = {"int8-ort": 64, "int8-tensorrt": 127}


class FakeQuantizer(nn.Module):
    """Rounds a tensor ``(B, …)`` to 8 bits; until `freeze` it only watches how far each clip goes.

    The range is that of the exporter's default calibration (``mean+std``): unsigned with a zero
    point for ``int8-ort``, else symmetric.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self._symmetric = dialect == "int8-tensorrt"
        self._limits = (-128, 127) if self._symmetric else (0, 255)
        self._seen: list[Tensor] | None = []
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        if self._seen is not None:
            rows = x.flatten(1)
            self._seen.append(torch.stack([rows.amin(1), rows.amax(1)], dim=1))
            return x
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, *self._limits)

    def freeze(self) -> None:
        """Fix the range to what was seen."""
        assert self._seen
        seen, self._seen = torch.cat(self._seen).cpu().double(), None
        ends = seen.mean(dim=0) + seen.std(dim=0, unbiased=False) * torch.tensor([-1, 1])
        low = min(max(ends[0], seen[:, 0].min()).item(), 0.0)
        high = max(min(ends[1], seen[:, 1].max()).item(), 0.0)
        step = max(-low, high) / 127 if self._symmetric else (high - low) / 255
        step = step or 1.0
        self.scale.fill_(step)
        self.zero_point.fill_(0 if self._symmetric else round(-low / step))


def quantize_weight(weight: Tensor, largest: int) -> Tensor:
    """Symmetric steps per output channel, the first axis; the largest weight is `largest` steps."""
    peak = weight.detach().flatten(1).abs().amax(dim=1)
    scale = torch.where(peak > 0, peak, torch.ones_like(peak)) / largest
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -largest, largest)


class _Simulated(nn.Module):
    """What the classes below add to a module of the network, whose own keys stay."""

    INPUTS: tuple[str, ...] = ("input",)
    OUTPUTS: tuple[str, ...] = ("output",)  # in int8-ort
    PRODUCTS: tuple[str, ...] = ()  # in int8-tensorrt
    quantizers: nn.ModuleDict
    largest_weight: int | None

    def _round(self, weight: Tensor) -> Tensor:
        limit = self.largest_weight
        return weight if limit is None else quantize_weight(weight, limit)

    def _quantize(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = self.quantizers[name](x) if name in self.quantizers else x
        return y


class _Conv(_Simulated):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight = self._round(weight)
        x = self._quantize("input", x)
        return self._quantize("output", super()._conv_forward(x, weight, bias))  # type: ignore[misc]


class _Conv1d(_Conv, Conv1d):
    pass


class _Conv2d(_Conv, nn.Conv2d):
    pass


class _SameConv2d(_Conv, SameConv2d):
    pass


class _FoldedConv1d(_Conv1d):
    """A convolution before BatchNorm, whose output is that of the exported convolution."""

    OUTPUTS = ()


class _BatchNorm1d(_Simulated, nn.BatchNorm1d):
    INPUTS = ()

    def forward(self, x: Tensor) -> Tensor:
        return self._quantize("output", super().forward(x))


class _Blur(_Simulated, Blur):
    def _filter(self, x: Tensor, taps: Tensor) -> Tensor:
        taps = self._round(taps)
        return self._quantize("output", super()._filter(self._quantize("input", x), taps))


class _Linear(_Simulated, nn.Linear):
    OUTPUTS = ()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self._quantize("input", x), self._round(self.weight), self.bias)


class _EncoderLayer(_Simulated, EncoderLayer):
    """The shortcuts add the same rounded tensors that the linear layers read."""

    INPUTS = ("layer", "middle")
    OUTPUTS = ()
    PRODUCTS = ("query", "key", "weights", "value")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self._quantize("layer", x))

    def _normalize(self, x: Tensor) -> Tensor:
        return self._quantize("middle", super()._normalize(x))

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        root = query.shape[-1] ** -0.25  # exported attention scales both operands by it
        query, key = self._quantize("query", query * root), self._quantize("key", key * root)
        weights = self._quantize("weights", (query @ key.mT).softmax(dim=-1))
        return F.dropout(weights, dropout) @ self._quantize("value", value)


def _simulated_class(module: nn.Module) -> type[_Simulated] | None:
    if type(module) is Conv1d and module.bias is None:
        return _FoldedConv1d
    return {
        Conv1d: _Conv1d,
        nn.Conv2d: _Conv2d,
        SameConv2d: _SameConv2d,
        Blur: _Blur,
        nn.BatchNorm1d: _BatchNorm1d,
        nn.Linear: _Linear,
        EncoderLayer: _EncoderLayer,
    }.get(type(module))


@torch.no_grad()
def simulate_int8(model: EAT, dialect: Dialect, in_float: str, batches: Iterable[Tensor]) -> None:
    """Turn `model`, in place, into one that computes as its INT8 export will.

    Its parameters stay the same tensors under the same keys; the ranges are added to its state
    (`plain_state` leaves them out).

    Args:
        in_float: the blocks that stay in floating point, as `blocks_in_float` reads them.
        batches: peak-scaled waveforms ``(B, N)``, on which ranges are found.
    """
    kept = blocks_in_float(model, in_float)
    for name, module in list(model.named_modules()):
        chosen = _simulated_class(module)
        if chosen is None or block_of(name) in kept:
            continue
        module.__class__ = chosen
        assert isinstance(module, _Simulated)
        rounded = chosen.INPUTS + (chosen.OUTPUTS if dialect == "int8-ort" else chosen.PRODUCTS)
        module.quantizers = nn.ModuleDict({tensor: FakeQuantizer(dialect) for tensor in rounded})
        module.largest_weight = None
    model.to(model.class_token.device).eval()
    for waveform in batches:
        model(waveform.unsqueeze(1))
    for module in model.modules():
        if isinstance(module, FakeQuantizer):
            module.freeze()
        elif isinstance(module, _Simulated):  # only now: ranges are those of the float network
            module.largest_weight = _LARGEST_WEIGHT[dialect]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The network's own state, without what `simulate_int8` added."""
    state = model.state_dict()
    return {key: value for key, value in state.items() if f".{_OWN}." not in key}


def blocks_in_float(model: EAT, names: str) -> frozenset[str]:
    """Comma-separated blocks as a set; ``front`` stands for those that the exporter leaves alone.

    Raises:
        UsageError: a name that is no block of `model`.
    """
    blocks = {block_of(name) for name, _ in model.named_modules()}
    return choose_blocks(names, blocks, _front_blocks(model), "qat_float")


def _front_blocks(model: EAT) -> tuple[str, ...]:
    """Up to the second strided filter, as `gmme_exporters.graphs.queries.front_convs` counts."""
    blocks = {
        f"{stage}.{index}": block
        for stage in ("stage1", "stage2")
        for index, block in getattr(model, stage).named_children()
    }
    filters = [name for name, block in blocks.items() if isinstance(block, AADown | SeparableDown)]
    names = ["stem", *blocks]
    return tuple(names[: names.index(filters[:FILTERS_OF_FRONT][-1]) + 1])
