"""Weights of the EAT reference implementation become a checkpoint of this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmme_edge.errors import UsageError, reason, require
from gmme_edge.inputs import read_text
from gmme_edge.licenses import noted
from gmme_edge.workflows.settings.conversion import ConversionSettings

if TYPE_CHECKING:
    from gmme_edge.spec import ModelSpec


def convert(state_dict: Path, output: Path, settings: ConversionSettings) -> ModelSpec:
    """Write the checkpoint `output` of a state dict, and tell which network it is.

    Args:
        state_dict: ``.safetensors``, or a torch file of tensors.

    Raises:
        UsageError: an unknown task or preset, names of another number, or a folder of something
            else.
        InputError: weights that cannot be read, or are of another network.
    """
    require("torch", "convert weights")
    require("safetensors", "convert weights")
    from gmme_edge.models.checkpoint import save_checkpoint
    from gmme_edge.models.reference import load_reference_state, read_state_dict
    from gmme_edge.ownership import claim_checkpoint
    from gmme_edge.spec import preset

    folder = claim_checkpoint(output, settings.force)
    names = _read_labels(settings.labels) if settings.labels else None
    spec = preset(
        settings.model, settings.task, settings.classes or (len(names) if names else None)
    )
    if names is None:
        names = tuple(f"class {index}" for index in range(spec.n_classes))
    elif len(names) != spec.n_classes:
        raise UsageError(f"{settings.labels} has {len(names)} names for {spec.n_classes} classes.")
    network = load_reference_state(spec, read_state_dict(state_dict))
    training: dict[str, Any] = {"converted_from": state_dict.name}
    if settings.data_license:
        training["data"] = noted(settings.data_license)
    save_checkpoint(folder, spec, network.state_dict(), names, training)
    return spec


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        told = f"{path} cannot be read: {reason(error)}."
        raise UsageError(told, "a text file of class names.") from None
    return tuple(line.strip() for line in lines if line.strip())
