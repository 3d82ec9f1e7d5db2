"""The networks a second time, in float64 numpy and explicit loops, from the papers' equations.

Nothing here is shared with `gmme_edge.models` but the names of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gmme_edge.spec import ModelSpec

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def under(weights: Weights, prefix: str) -> dict[str, Array]:
    start = prefix + "."
    return {key[len(start) :]: value for key, value in weights.items() if key.startswith(start)}


def reflect(x: Array, before: int, after: int) -> Array:
    """x[-1] = x[1], x[T] = x[T - 2]; along the last axis."""
    last = x.shape[-1] - 1
    indices = [abs(i) for i in range(-before, last + 1)]
    indices += [last - i for i in range(1, after + 1)]
    return x[..., indices]


def conv1d(x: Array, weight: Array, stride: int = 1, dilation: int = 1) -> Array:
    """No padding; (B, c, T), (c', c, k) → (B, c', T'). A weight (c, 1, k) is depthwise."""
    depthwise = weight.shape[1] == 1 and x.shape[1] > 1
    taps = weight.shape[2]
    length = (x.shape[2] - dilation * (taps - 1) - 1) // stride + 1
    out = np.zeros((x.shape[0], weight.shape[0], length))
    for t in range(taps):
        seen = x[:, :, t * dilation : t * dilation + stride * (length - 1) + 1 : stride]
        if depthwise:
            out += weight[None, :, 0, t, None] * seen
        else:
            out += np.einsum("oc,bct->bot", weight[:, :, t], seen)
    return out


def batch_norm(x: Array, w: Weights) -> Array:
    scale = w["weight"] / np.sqrt(w["running_var"] + 1e-5)
    return (x - w["running_mean"][:, None]) * scale[:, None] + w["bias"][:, None]


def leaky(x: Array) -> Array:
    return np.where(x >= 0, x, 0.2 * x)


def prelu(x: Array, slopes: Array) -> Array:
    """One slope per channel of (B, c, rows, columns)."""
    return np.where(x >= 0, x, slopes[None, :, None, None] * x)


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(x / 2))  # the same function; exp(-x) overflows


def stem(x: Array, w: Weights) -> Array:
    return leaky(batch_norm(conv1d(reflect(x, 3, 3), w["conv.weight"]), under(w, "norm")))


def triangle(stride: int) -> Array:
    taps = np.array([min(i + 1, 2 * stride + 1 - i) for i in range(2 * stride + 1)], float)
    return taps / taps.sum()


def blur(x: Array, stride: int) -> Array:
    taps = np.tile(triangle(stride), (x.shape[1], 1, 1))
    return conv1d(reflect(x, stride, stride), taps, stride)


def aa_down(x: Array, w: Weights, stride: int) -> Array:
    padded = reflect(x, (stride + 1) // 2, stride // 2)
    return blur(leaky(batch_norm(conv1d(padded, w["conv.weight"]), under(w, "norm"))), stride)


def res_block(x: Array, w: Weights, dilation: int) -> Array:
    shortcut = conv1d(x, w["shortcut.weight"]) + w["shortcut.bias"][:, None]
    point = leaky(batch_norm(conv1d(x, w["point.weight"]), under(w, "point_norm")))
    padded = reflect(x, 7 * dilation, 7 * dilation)
    depth = conv1d(padded, w["depth.weight"], dilation=dilation)
    return shortcut + point + leaky(batch_norm(depth, under(w, "depth_norm")))


def same_conv2d(image: Array, weight: Array, bias: Array | None, stride: int) -> Array:
    """Output (i, j) sees input rows stride·i + a - (k - 1)//2 for a < k, columns alike; 0 outside.

    (B, c, R, S), (c', c, k, l) → (B, c', ⌈R/stride⌉, ⌈S/stride⌉).
    """
    n, _, rows, columns = image.shape
    long, wide = weight.shape[2:]
    out = np.zeros((n, weight.shape[0], -(-rows // stride), -(-columns // stride)))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            for a in range(long):
                for b in range(wide):
                    row = stride * i + a - (long - 1) // 2
                    column = stride * j + b - (wide - 1) // 2
                    if 0 <= row < rows and 0 <= column < columns:
                        out[:, :, i, j] += image[:, :, row, column] @ weight[:, :, a, b].T
    return out if bias is None else out + bias[:, None, None]


def mini_patches(x: Array) -> Array:
    """(B, F, T) → (B, 4, F/2, T/2): the samples of each 2×2 patch, row by row."""
    n, rows, columns = x.shape
    out = np.zeros((n, 4, rows // 2, columns // 2))
    for i in range(rows // 2):
        for j in range(columns // 2):
            out[:, :, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(n, 4)
    return out


def gmme(x: Array, w: Weights, patches: bool) -> Array:
    """Eq. 1–5 with s = 2; (B, F, T) → (B, 2F, T/2)."""
    image, stride = (mini_patches(x), 1) if patches else (x[:, None], 2)

    def z(name: str) -> Array:
        convolved = same_conv2d(image, w[f"conv_{name}.weight"], w.get(f"conv_{name}.bias"), stride)
        return prelu(convolved, w[f"act_{name}.weight"])

    z_f, z_t, z_g = z("f"), z("t"), z("g")
    half = z_f.shape[1] // 2
    g_f, m_f, g_t, m_t = z_f[:, :half], z_f[:, half:], z_t[:, :half], z_t[:, half:]
    summed = z_g + sigmoid(g_f) * sigmoid(g_t) * prelu(m_f * m_t, w["act_m.weight"])
    folded = np.einsum("oc,bcij->boij", w["phi.weight"][:, :, 0, 0], summed)
    folded += w["phi.bias"][:, None, None]
    return np.concatenate([folded[:, channel] for channel in range(folded.shape[1])], axis=1)


def linear(x: Array, w: Weights) -> Array:
    return x @ w["weight"].T + w["bias"]


def layer_norm(x: Array, w: Weights) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / spread * w["weight"] + w["bias"]


def attend(x: Array, w: Weights, n_heads: int) -> Array:
    """Multi-head self-attention (arXiv 1706.03762, section 3.2), a head at a time."""
    width = x.shape[-1]
    query, key, value = np.split(linear(x, under(w, "qkv")), 3, axis=-1)
    heads = []
    for h in range(n_heads):
        part = slice(h * width // n_heads, (h + 1) * width // n_heads)
        scores = query[..., part] @ key[..., part].swapaxes(1, 2) / math.sqrt(width // n_heads)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ value[..., part])
    return linear(np.concatenate(heads, axis=-1), under(w, "out"))


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def encoder_layer(x: Array, w: Weights, n_heads: int) -> Array:
    x = layer_norm(x + attend(x, w, n_heads), under(w, "norm1"))
    hidden = linear(gelu(linear(x, under(w, "expand"))), under(w, "reduce"))
    return layer_norm(x + hidden, under(w, "norm2"))


def eat(waveform: Array, w: Weights, spec: ModelSpec) -> Array:
    """(B, 1, N) → logits (B, n_classes); table 1 of model-spec.md, line by line."""
    x, block = stem(waveform, under(w, "stem")), 0
    for index, factor in enumerate(spec.factors):
        x, block = aa_down(x, under(w, f"stage1.{block}"), factor), block + 1
        if index % 2 == 0:
            x, block = res_block(x, under(w, f"stage1.{block}"), 1), block + 1
    block = 0
    for _ in range(2):
        for dilation in (1, 3, 9):
            x, block = res_block(x, under(w, f"stage2.{block}"), dilation), block + 1
        down = under(w, f"stage2.{block}")
        kind = spec.downsample.kind
        x, block = aa_down(x, down, 2) if kind == "aa" else gmme(x, down, kind == "gmme"), block + 1
    tokens = (conv1d(x, w["project.weight"]) + w["project.bias"][:, None]).swapaxes(1, 2)
    first = np.tile(w["class_token"], (len(tokens), 1, 1))
    tokens = np.concatenate([first, tokens], axis=1) + w["position"]
    for layer in range(spec.backbone.n_layers):
        tokens = encoder_layer(tokens, under(w, f"encoder.{layer}"), spec.backbone.n_heads)
    return linear(layer_norm(tokens, under(w, "norm"))[:, 0], under(w, "classify"))
