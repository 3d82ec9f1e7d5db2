"""The head without work that nobody reads.

- Only the class token leaves the encoder, so its last layer computes that one row: the queries,
  the sums and the feed-forward part of all other tokens are dropped. Keys and values stay.

      y = x₀ + attend(q(x₀), k(x), v(x)),   z = y + ffn(y)       for the class token x₀ alone

- The scale 1/√d of attention is folded into the queries' weights, and q, k, v are laid out by one
  transposition instead of three.

- GELU is written as ONNX Runtime knows it, and becomes one node (torch 2.15 or newer). Its one
  node for a sum and the LayerNorm behind it takes twice the time of the two; so what would be
  added is negated, in its weights, and subtracted.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.models.eat import EAT, EncoderLayer

# The exporter of torch 2.6 fixes the batch size where a product is written out. Those between were
# not tried, and keep GELU in several nodes.
_WRITES_GELU = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 15)


def lower_head(model: EAT) -> None:
    """Replace the encoder's layers; the last puts out the class token only."""
    last = len(model.encoder) - 1
    for index, layer in enumerate(model.encoder):
        assert isinstance(layer, EncoderLayer)
        model.encoder[index] = LoweredLayer(layer, class_token_only=index == last)


class LoweredLayer(nn.Module):
    """`EncoderLayer` in eval mode; ``(B, L, d)`` → same, or ``(B, 1, d)``."""

    def __init__(self, layer: EncoderLayer, class_token_only: bool) -> None:
        super().__init__()
        self.n_heads, self.class_token_only = layer.n_heads, class_token_only
        width = layer.out.in_features
        scale = torch.ones(3 * width, dtype=torch.float64)
        scale[:width] = 1 / math.sqrt(width // layer.n_heads)
        weight = layer.qkv.weight.detach().double() * scale[:, None]
        bias = layer.qkv.bias.detach().double() * scale
        n_query = width if class_token_only else 0  # rows that the class token alone needs
        self.query = _linear(weight[:n_query], bias[:n_query], layer.qkv) if n_query else None
        self.qkv = _linear(weight[n_query:], bias[n_query:], layer.qkv)
        self.out, self.norm1 = _negated(layer.out), layer.norm1
        self.expand, self.reduce, self.norm2 = layer.expand, _negated(layer.reduce), layer.norm2

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """``(B, L, parts · d)`` → `parts` tensors ``(B, heads, L, d / heads)``."""
        split: Tensor = x.unflatten(-1, (parts, self.n_heads, -1))  # type: ignore[no-untyped-call]
        return tuple(split.permute(2, 0, 3, 1, 4).unbind(0))

    def _attend(self, x: Tensor) -> Tensor:
        if self.query is None:
            q, k, v = self._heads(self.qkv(x), 3)
        else:
            (q,) = self._heads(self.query(x[:, :1]), 1)
            k, v = self._heads(self.qkv(x), 2)
        mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y

    def forward(self, x: Tensor) -> Tensor:
        attended = self._attend(x)
        x = self.norm1((x[:, :1] if self.class_token_only else x) - attended)
        y: Tensor = self.norm2(x - self.reduce(_gelu(self.expand(x))))
        return y


def _gelu(x: Tensor) -> Tensor:
    if not _WRITES_GELU:
        return F.gelu(x)
    return x * (torch.erf(x / math.sqrt(2)) + 1) * 0.5


def _negated(linear: nn.Linear) -> nn.Linear:
    return _linear(-linear.weight.detach(), -linear.bias.detach(), linear)


def _linear(weight: Tensor, bias: Tensor, like: nn.Linear) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data, linear.bias.data = weight.to(like.weight), bias.to(like.bias)
    return linear
