"""State dicts of the EAT reference implementation, renamed to this project's modules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gmme_edge.errors import CheckpointError, reason
from gmme_edge.models.eat import EAT
from gmme_edge.spec import ModelSpec

_NO_TENSORS = "it is damaged, of another kind, or holds a whole network or other objects"

_RENAMES = (
    (r"^module\.", ""),
    (r"^start\.1\.", "stem.conv."),
    (r"^start\.2\.", "stem.norm."),
    (r"^down\.", "stage1."),
    (r"^down2\.", "stage2."),
    (r"\.down\.1\.", ".conv."),
    (r"\.down\.2\.", ".norm."),
    (r"\.down\.4\.filt$", ".blur.taps"),
    (r"\.block_f\.0\.", ".point."),
    (r"\.block_f\.1\.", ".point_norm."),
    (r"\.block_t\.1\.", ".depth."),
    (r"\.block_t\.2\.", ".depth_norm."),
    (r"^tf\.cls_token$", "class_token"),
    (r"^tf\.pos_embed$", "position"),
    (r"^tf\.fc\.", "classify."),
    (r"^tf\.transformer_enc\.norm\.", "norm."),
    (r"^tf\.transformer_enc\.layers\.", "encoder."),
    (r"\.self_attn\.in_proj_", ".qkv."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.linear1\.", ".expand."),
    (r"\.linear2\.", ".reduce."),
)


def rename_key(key: str) -> str:
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` file or of a torch file, which is loaded weights-only."""
    if not path.is_file():
        raise CheckpointError(f"{path} is no file.", "a state dict (.safetensors, .pt, .pth).")
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own words are long, mean other things or, for a damaged file, nothing.
        told = reason(error) if isinstance(error, OSError | SafetensorError) else _NO_TENSORS
        raise CheckpointError(
            f"{path} cannot be read: {told}.",
            "a .safetensors file, or a torch file that holds tensors only (no pickled code runs).",
            "where the network runs: torch.save(model.state_dict(), 'weights.pt')",
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{path} holds no state dict.", "a mapping of names to tensors.")
    return {str(key): value for key, value in loaded.items()}


def load_reference_state(spec: ModelSpec, state: Mapping[str, Tensor]) -> EAT:
    """Build `spec` and load a reference-implementation (or this project's) state dict into it.

    Raises:
        CheckpointError: a key is missing, unknown or of another shape; the first ones are named.
    """
    renamed = {rename_key(key): value for key, value in state.items()}
    check_shapes(spec, renamed)
    model = EAT(spec)
    load_state(model, renamed)
    return model.eval()


def check_shapes(spec: ModelSpec, state: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError` unless `state` fits `spec`, before memory is taken for a network."""
    with torch.device("meta"):
        expected = EAT(spec)
    _refuse_other_shapes(expected, state)


def load_state(model: EAT, state: Mapping[str, Tensor]) -> None:
    """`load_state_dict`, with every mismatch named in one error; weights are finite numbers."""
    _refuse_other_shapes(model, state)
    own = model.state_dict()
    for key, value in state.items():
        if value.is_floating_point() != own[key].is_floating_point():
            raise CheckpointError(f"{key} holds {value.dtype}.", f"{own[key].dtype}, as written.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{key} holds NaN or infinity.", "weights of a sound training.")
    model.load_state_dict({**model.state_dict(), **state})


def _refuse_other_shapes(model: EAT, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    problems = [
        f"{key} has shape {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems += [f"unknown {key} {tuple(state[key].shape)}" for key in state if key not in own]
    missing = [key for key in own if key not in state and "num_batches_tracked" not in key]
    problems += [f"missing {key} {tuple(own[key].shape)}" for key in missing]
    if problems:
        more = f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointError(
            f"The weights do not fit {model.spec.name}:\n  " + "\n  ".join(problems[:8]) + more,
            f"the keys and shapes of {model.spec.name} with {model.spec.n_classes} classes and "
            f"factors {model.spec.factors}.",
            "name the model, task or --classes that the weights were trained for.",
        )
