"""`model.json`: what a checkpoint is, without its weights and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmme_edge.errors import CheckpointError, GmmeEdgeError
from gmme_edge.files import read_json
from gmme_edge.pretrained import describe_choice
from gmme_edge.spec import ModelSpec

SCHEMA = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Description:
    """A checkpoint's network, its labels in the order of the logits, and how it came about."""

    spec: ModelSpec
    labels: tuple[str, ...]
    training: dict[str, Any]


def check_present(folder: Path) -> None:
    """Raise `CheckpointError` unless both files of a checkpoint are there."""
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} is no checkpoint: it has no {name}.",
                describe_choice(f"a folder with {WEIGHTS} and {DESCRIPTION}"),
                "train one with `gmme-edge train`, or turn a state dict into one with "
                "`gmme-edge convert`.",
            )


def read_description(folder: Path) -> Description:
    """Read `model.json` of a folder that holds weights too.

    Raises:
        CheckpointError: a file is missing, or the description is damaged.
    """
    check_present(folder)
    values = read_json(folder / DESCRIPTION, "checkpoint description", SCHEMA, CheckpointError)
    try:
        spec = ModelSpec.from_dict(values["model"])
        labels = tuple(str(label) for label in values["labels"])
        training = dict(values["training"])
    except (KeyError, TypeError, ValueError, GmmeEdgeError) as error:
        raise CheckpointError(
            f"{folder} is damaged: {type(error).__name__}: {error}", "an intact checkpoint."
        ) from error
    if len(labels) != spec.n_classes:
        raise CheckpointError(
            f"{folder} has {len(labels)} labels for {spec.n_classes} classes.", "one per class."
        )
    return Description(spec, labels, training)
