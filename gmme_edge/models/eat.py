"""EAT, the end-to-end audio transformer (arXiv 2204.11479), with a choice of down-sampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge.audio import Waveform
from gmme_edge.models.convolution import Conv1d, Padding, pad_ends
from gmme_edge.models.downsample import AADown, SeparableDown, build_downsample
from gmme_edge.spec import Backbone, ModelSpec


def peak_scale(waveform: Tensor) -> Tensor:
    """``0.95 · x / max|x|`` per clip, silence unchanged; shapes ``(…, N)`` → ``(…, N)``.

    A peak below 1e-30 counts as silence: its reciprocal would overflow.
    """
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return waveform * (0.95 / torch.where(peak > 1e-30, peak, torch.ones_like(peak)))


class Stem(nn.Module):
    """``(B, 1, N)`` → ``(B, c, N)``: pad 3, conv 7, BatchNorm, LeakyReLU."""

    def __init__(self, channels: int, padding: Padding = "reflect") -> None:
        super().__init__()
        self.padding: Padding = padding
        self.conv = Conv1d(1, channels, 7, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(pad_ends(x, (3, 3), self.padding))), 0.2)


class ResBlock(nn.Module):
    """``(B, c, T)`` → same: the sum of a 1×1 shortcut, a 1×1 path and a dilated depthwise path."""

    KERNEL = 15

    def __init__(self, channels: int, dilation: int, padding: Padding = "reflect") -> None:
        super().__init__()
        self.padding: Padding = padding
        self.pad = dilation * (self.KERNEL // 2)
        self.shortcut = Conv1d(channels, channels, 1)
        self.point = Conv1d(channels, channels, 1, bias=False)
        self.point_norm = nn.BatchNorm1d(channels)
        self.depth = Conv1d(
            channels, channels, self.KERNEL, dilation=dilation, groups=channels, bias=False
        )
        self.depth_norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        point = F.leaky_relu(self.point_norm(self.point(x)), 0.2)
        padded = pad_ends(x, (self.pad, self.pad), self.padding)
        depth = F.leaky_relu(self.depth_norm(self.depth(padded)), 0.2)
        y: Tensor = self.shortcut(x) + point + depth
        return y


class EncoderLayer(nn.Module):
    """Post-norm Transformer encoder layer with GELU; ``(B, L, d)`` → same.

    Written out (rather than `nn.TransformerEncoderLayer`) so that what is exported is exactly
    what is trained: torch's own layer switches to a fused kernel in eval mode.
    """

    def __init__(self, backbone: Backbone, dropout: float) -> None:
        super().__init__()
        width = backbone.embed_dim
        self.n_heads, self.dropout = backbone.n_heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, backbone.feedforward_dim)
        self.reduce = nn.Linear(backbone.feedforward_dim, width)
        self.norm2 = nn.LayerNorm(width)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = self._mix(q, k, v, self.dropout if self.training else 0.0)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)

    def _normalize(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm1(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        x = self._normalize(x + self._drop(self._attend(x)))
        hidden = self._drop(F.gelu(self.expand(x)))
        y: Tensor = self.norm2(x + self._drop(self.reduce(hidden)))
        return y


class EAT(nn.Module):
    """Waveform ``(B, 1, N)``, peak-scaled → logits ``(B, n_classes)``.

    Source: arXiv 2204.11479 for the backbone; the GMME paper for `spec.downsample`.
    """

    def __init__(self, spec: ModelSpec, dropout: float = 0.1) -> None:
        super().__init__()
        self.spec = spec
        channels, width = spec.backbone.stem_channels, spec.backbone.embed_dim
        padding = spec.backbone.padding
        down = AADown if spec.backbone.stage1 == "aa" else SeparableDown
        self.stem = Stem(channels, padding)
        stage1: list[nn.Module] = []
        for index, factor in enumerate(spec.factors):
            stage1.append(down(channels, factor))
            channels *= 2
            if index % 2 == 0:
                stage1.append(ResBlock(channels, 1, padding))
        stage2: list[nn.Module] = []
        for _ in range(2):
            stage2 += [ResBlock(channels, dilation, padding) for dilation in (1, 3, 9)]
            stage2.append(build_downsample(spec.downsample, channels))
            channels *= 2
        self.stage1, self.stage2 = nn.Sequential(*stage1), nn.Sequential(*stage2)
        self.project = Conv1d(channels, width, 1)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, spec.tokens + 1, width))
        self.encoder = nn.Sequential(
            *(EncoderLayer(spec.backbone, dropout) for _ in range(spec.backbone.n_layers))
        )
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, spec.n_classes)
        self.apply(_initialise)

    def embed(self, waveform: Tensor) -> Tensor:
        """The class token before the last Linear; ``(B, 1, N)`` → ``(B, embed_dim)``."""
        return self.embed_features(self.stage2(self.stage1(self.stem(waveform))))

    def embed_features(self, features: Tensor) -> Tensor:
        """As `embed`, of what stage 2 gives: ``(B, C, L)``, or with a plane's axis when lowered."""
        tokens = self.project(features).transpose(1, 2)
        first = self.class_token.expand(tokens.shape[0], -1, -1)
        y: Tensor = self.norm(self.encoder(torch.cat([first, tokens], dim=1) + self.position))
        return y[:, 0]

    def forward(self, waveform: Tensor) -> Tensor:
        y: Tensor = self.classify(self.embed(waveform))
        return y


def _initialise(module: nn.Module) -> None:
    """EAT's initialisation: convolutions N(0, 0.02), every bias 0; the rest as torch does.

    `Module.apply` visits a block after its convolutions, so a block may have the last word.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, SeparableDown):
        module.initialise()


def torch_predictor(model: EAT) -> Callable[[Waveform], Waveform]:
    """A function of raw waveforms ``(B, N)`` to logits, with the exported graph's peak scaling."""
    device = model.class_token.device

    @torch.no_grad()
    def predict(batch: Waveform) -> Waveform:
        waveform = torch.from_numpy(np.ascontiguousarray(batch)).to(device)
        logits: Waveform = model(peak_scale(waveform).unsqueeze(1)).cpu().numpy()
        return logits

    return predict


@torch.no_grad()
def seed_batch_norm(model: EAT, waveform: Tensor) -> None:
    """Set every BatchNorm's running statistics to those of one batch ``(B, N)``, peak-scaled.

    They start at mean 0, variance 1, while an untrained GMME puts out a variance below 1e-6:
    after a few hundred steps the running average still shows that 1, and eval mode fails.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the batch's own statistics
    model.train()(waveform.unsqueeze(1))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
