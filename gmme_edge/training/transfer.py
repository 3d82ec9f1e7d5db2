"""Start from a trained network: its weights for other classes and another clip length."""

from __future__ import annotations

from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import Tensor

from gmme_edge.errors import CheckpointError
from gmme_edge.models.checkpoint import Checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.spec import ModelSpec


def initial_model(
    spec: ModelSpec,
    source: Checkpoint,
    labels: tuple[str, ...] = (),
    seed: int = 0,
    any_rate: bool = False,
) -> EAT:
    """Build `spec` with the weights of `source`.

    The head's rows are kept where `source` knows every one of `labels`, in whatever order;
    otherwise the head is new. No other weight depends on classes or, but for the position
    embedding, on the clip's length.

    Args:
        labels: class names in the order of the logits; without them the head is new.
        seed: of a new head.
        any_rate: accept another sample rate, at which every pitch is shifted for the filters.

    Raises:
        CheckpointError: widths, blocks, factors or the sample rate differ.
    """
    check_fit(spec, source, any_rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EAT(spec)
    own, state = model.state_dict(), source.model.state_dict()
    state["position"] = resize_position(state["position"], spec.tokens)
    known = bool(labels) and set(labels) <= set(source.labels)
    rows = [source.labels.index(label) for label in labels] if known else []
    for key in ("classify.weight", "classify.bias"):
        state[key] = state[key][rows] if known else own[key]
    model.load_state_dict(state)
    return model


def check_fit(spec: ModelSpec, source: Checkpoint, any_rate: bool = False) -> None:
    """Raise `CheckpointError` that names what keeps `source` from starting `spec`."""
    have, want = _fixed(source.spec), _fixed(spec)
    differences = [f"{key} {have[key]}, not {want[key]}" for key in want if have[key] != want[key]]
    if (theirs := source.spec.sample_rate_hz) != (ours := spec.sample_rate_hz) and not any_rate:
        differences.append(
            f"sample rate {theirs} Hz, not {ours} Hz: to its filters every pitch would be "
            f"×{theirs / ours:.2f}"
        )
    if differences:
        raise CheckpointError(
            f"{source.spec.name} cannot start {spec.name}; it has\n  " + "\n  ".join(differences),
            "the same widths, blocks, factors and sample rate; classes and clip length may differ.",
            f"train {source.spec.name} with {theirs} Hz and factors "
            f"{','.join(map(str, source.spec.factors))}, as without --task, or start from another "
            "checkpoint; --any-rate accepts another sample rate.",
        )


def _fixed(spec: ModelSpec) -> dict[str, object]:
    return {**asdict(spec.backbone), "down-sampling": spec.downsample, "factors": spec.factors}


def resize_position(position: Tensor, tokens: int) -> Tensor:
    """``(1, T + 1, d)`` → ``(1, tokens + 1, d)``: linear between token centres.

    The class token's position, the first, stays.
    """
    first, rest = position[:, :1], position[:, 1:]
    if rest.shape[1] != tokens:
        rest = F.interpolate(rest.mT, tokens, mode="linear").mT
    return torch.cat([first, rest], dim=1)
