"""`model.json`: what a checkpoint is, without its weights and without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmme_edge.errors import CheckpointError, GmmeEdgeError, fault
from gmme_edge.inputs import read_json
from gmme_edge.pretrained import describe_choice
from gmme_edge.spec import ModelSpec

SCHEMA = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
_MOST_BYTES = 8 << 20  # a hundred thousand fingerprints of training clips take 1.3 MB
_HASH = "sha256"  # of all other values, so that one flipped letter is noticed
_KEYS = {"schema", "model", "labels", "training", _HASH}


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
                f"{folder} is no checkpoint: {_lack(folder, name)}.",
                describe_choice(f"a folder with {WEIGHTS} and {DESCRIPTION}"),
                "train one with `gmme-edge train`, or turn a state dict into one with "
                "`gmme-edge convert`.",
            )


def _lack(folder: Path, name: str) -> str:
    if not folder.is_dir():
        return "it is a file" if folder.exists() else "there is no such folder"
    if (folder / "cross-validation.json").is_file():
        return "it is a cross-validation, whose folders fold-1, … are checkpoints"
    exported = (folder / "manifest.json").is_file()
    return f"it is a bundle without {name}" if exported else f"it has no {name}"


def read_description(folder: Path) -> Description:
    """Read `model.json` of a folder that holds weights too.

    Raises:
        CheckpointError: a file is missing, or the description is damaged.
    """
    check_present(folder)
    values = read_json(
        folder / DESCRIPTION, "checkpoint description", SCHEMA, CheckpointError, _MOST_BYTES
    )
    _check_hash(folder, values)
    try:
        spec = ModelSpec.from_dict(values["model"])
        labels = tuple(str(label) for label in values["labels"])
        training = dict(values["training"])
    except (ArithmeticError, KeyError, TypeError, ValueError, GmmeEdgeError) as error:
        got = f"{folder} is damaged: {fault(error)}"
        raise CheckpointError(got, "an intact checkpoint.") from error
    if len(labels) != spec.n_classes:
        raise CheckpointError(
            f"{folder} has {len(labels)} labels for {spec.n_classes} classes.", "one per class."
        )
    return Description(spec, labels, training)


def with_hash(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is written to `model.json`: `values`, and a hash of them."""
    return {**values, _HASH: _hash(json.loads(json.dumps(values)))}


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_hash(folder: Path, values: Mapping[str, Any]) -> None:
    """Descriptions of before have no hash."""
    others = {key: value for key, value in values.items() if key != _HASH}
    unknown = sorted(values.keys() - _KEYS)
    if unknown or values.get(_HASH, "") not in ("", _hash(others)):
        raise CheckpointError(
            f"{folder / DESCRIPTION} is damaged: it is not what was written"
            + (f", and has the unknown {unknown[0]!r:.60}." if unknown else "."),
            "an intact checkpoint.",
            f'copy it again; or, if you changed it yourself, remove its line "{_HASH}".',
        )


def unfinished_training(training: Mapping[str, Any]) -> str:
    """Says so where a training was stopped before its last epoch; else empty."""
    if training.get("finished") is not False:
        return ""
    history, recipe = training.get("history"), training.get("recipe")
    last = history[-1] if isinstance(history, list) and history else {}
    done = last.get("epoch", 0) if isinstance(last, dict) else "?"
    planned = recipe.get("epochs", "?") if isinstance(recipe, dict) else "?"
    return f"the training is unfinished: it ended in epoch {done} of {planned}"
