"""The reference implementation's names of EAT's weights, written out from its module tree."""

from __future__ import annotations

from torch import Tensor

from gmme_edge.models.eat import EAT

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in _NORM}


def _both(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.weight": f"{ours}.weight", f"{theirs}.bias": f"{ours}.bias"}


def _down(theirs: str, ours: str) -> dict[str, str]:
    return {
        f"{theirs}.down.1.weight": f"{ours}.conv.weight",
        **_norm(f"{theirs}.down.2", f"{ours}.norm"),
        f"{theirs}.down.4.filt": f"{ours}.blur.taps",
    }


def _block(theirs: str, ours: str) -> dict[str, str]:
    return {
        **_both(f"{theirs}.shortcut", f"{ours}.shortcut"),
        f"{theirs}.block_f.0.weight": f"{ours}.point.weight",
        **_norm(f"{theirs}.block_f.1", f"{ours}.point_norm"),
        f"{theirs}.block_t.1.weight": f"{ours}.depth.weight",
        **_norm(f"{theirs}.block_t.2", f"{ours}.depth_norm"),
    }


def _layer(theirs: str, ours: str) -> dict[str, str]:
    return {
        f"{theirs}.self_attn.in_proj_weight": f"{ours}.qkv.weight",
        f"{theirs}.self_attn.in_proj_bias": f"{ours}.qkv.bias",
        **_both(f"{theirs}.self_attn.out_proj", f"{ours}.out"),
        **_both(f"{theirs}.linear1", f"{ours}.expand"),
        **_both(f"{theirs}.linear2", f"{ours}.reduce"),
        **_both(f"{theirs}.norm1", f"{ours}.norm1"),
        **_both(f"{theirs}.norm2", f"{ours}.norm2"),
    }


def reference_names(n_factors: int, n_layers: int) -> dict[str, str]:
    """Their name → our name, for anti-alias networks."""
    names = {
        "start.1.weight": "stem.conv.weight",
        **_norm("start.2", "stem.norm"),
        **_both("project", "project"),
        "tf.cls_token": "class_token",
        "tf.pos_embed": "position",
        **_both("tf.transformer_enc.norm", "norm"),
        **_both("tf.fc", "classify"),
    }
    # stage 1: Down, ResBlock, Down, Down, ResBlock, Down, …
    kinds = [
        kind for i in range(n_factors) for kind in ((_down, _block) if i % 2 == 0 else (_down,))
    ]
    for index, kind in enumerate(kinds):
        names |= kind(f"down.{index}", f"stage1.{index}")
    for index in range(8):
        kind = _down if index in (3, 7) else _block
        names |= kind(f"down2.{index}", f"stage2.{index}")
    for index in range(n_layers):
        names |= _layer(f"tf.transformer_enc.layers.{index}", f"encoder.{index}")
    return names


def as_reference(model: EAT, prefix: str = "") -> dict[str, Tensor]:
    """The state dict that the reference implementation would have saved."""
    own = model.state_dict()
    names = reference_names(len(model.spec.factors), model.spec.backbone.n_layers)
    assert set(names.values()) == set(own)
    return {prefix + theirs: own[ours].clone() for theirs, ours in names.items()}
