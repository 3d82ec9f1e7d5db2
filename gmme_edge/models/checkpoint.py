"""A checkpoint: a folder with `model.safetensors` and `model.json`. No pickle is ever loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gmme_edge.audio import Waveform
from gmme_edge.bundle.bundle import MANIFEST, Bundle
from gmme_edge.errors import CheckpointError, fault
from gmme_edge.files import replacing, sha256_of, write_json
from gmme_edge.inputs import read_json
from gmme_edge.licenses import license_of, noted
from gmme_edge.models.description import DESCRIPTION as DESCRIPTION
from gmme_edge.models.description import SCHEMA as SCHEMA
from gmme_edge.models.description import WEIGHTS as WEIGHTS
from gmme_edge.models.description import check_present, read_description, with_hash
from gmme_edge.models.eat import EAT, peak_scale, seed_batch_norm
from gmme_edge.models.reference import check_shapes, load_state
from gmme_edge.pretrained import resolve
from gmme_edge.spec import ModelSpec

_TENSORS, _VALUES = "tensors_sha256", "content_sha256"  # the latter of before: without types


@dataclass(frozen=True)
class Checkpoint:
    """A trained network.

    Attributes:
        model: in eval mode, on the CPU.
        labels: class names in the order of the logits.
        training: how it came about: recipe, data set, split, figures, versions.
        sha256: of the weights' file; "" before it is saved.
    """

    model: EAT
    labels: tuple[str, ...]
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def origin(self) -> dict[str, Any]:
        """What is noted of the data it was trained on; empty where nothing is."""
        data = self.training.get("data")
        return data if isinstance(data, dict) else {}

    def with_data_license(self, name: str) -> Checkpoint:
        """The same, noting that recordings it was trained on are under this licence, too."""
        data = {**self.origin, **noted(license_of(self.origin), name)}
        return replace(self, training={**self.training, "data": data})


def save_checkpoint(
    folder: Path,
    spec: ModelSpec,
    state: Mapping[str, Tensor],
    labels: tuple[str, ...],
    training: Mapping[str, Any],
) -> None:
    """Write both files, each through a temporary name."""
    if len(labels) != spec.n_classes:
        raise CheckpointError(f"{len(labels)} labels for {spec.n_classes} classes.")
    network = {"model": spec.to_dict(), "labels": list(labels)}
    _forget_other(folder / DESCRIPTION, network)
    tensors = {key: value.detach().contiguous().cpu() for key, value in state.items()}
    with replacing(folder / WEIGHTS, sum(t.nbytes for t in tensors.values())) as temporary:
        save_file(tensors, temporary, metadata={_TENSORS: _content_hash(tensors)})
    values = {"schema": SCHEMA, **network, "training": dict(training)}
    write_json(folder / DESCRIPTION, with_hash(values))


def _forget_other(path: Path, network: Mapping[str, Any]) -> None:
    """Remove the description of another network, so that a kill cannot leave it to new weights."""
    if not path.exists():
        return
    try:
        values = read_json(path, "checkpoint description", SCHEMA, CheckpointError)
    except CheckpointError:
        values = {}
    if {key: values.get(key) for key in network} != json.loads(json.dumps(network)):
        path.unlink()


def open_checkpoint(name_or_path: str | Path) -> Checkpoint:
    """Read a checkpoint's folder, or a shipped model by its name; a path goes first."""
    return load_checkpoint(resolve(name_or_path))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint; weights that were stored in float16 become float32.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights do not fit the spec.
        BundleError: the folder is a bundle too, and a file is not that of its manifest.
    """
    check_present(folder)
    if (folder / MANIFEST).is_file():
        _check_hashes(Bundle.open(folder))
    described = read_description(folder)
    try:
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        got = f"{folder} is damaged: {fault(error)}"
        raise CheckpointError(got, "an intact checkpoint.") from error
    _check_content(folder / WEIGHTS, state)
    check_shapes(described.spec, state)
    model = EAT(described.spec)
    load_state(model, state)
    sha256 = sha256_of(folder / WEIGHTS)
    return Checkpoint(model.eval(), described.labels, described.training, sha256)


def _content_hash(tensors: Mapping[str, Tensor], with_types: bool = True) -> str:
    """Of names, types and values. It stands in the weights' own file: no kill can part the two."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key]
        known = f"{key} {value.dtype} {tuple(value.shape)}" if with_types else key
        digest.update(known.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_content(path: Path, state: Mapping[str, Tensor]) -> None:
    """Weights of before carry a hash without types, or none."""
    with safe_open(path, framework="pt") as file:
        noted = file.metadata() or {}
    for key in (_TENSORS, _VALUES):
        if key in noted and noted[key] != _content_hash(state, with_types=key == _TENSORS):
            raise CheckpointError(
                f"{path} is damaged: its weights are not those that were written.",
                "an intact checkpoint.",
                "copy it again, or train it again.",
            )


def _check_hashes(bundle: Bundle) -> None:
    """For a folder that is a bundle too: safetensors itself notices no changed weight."""
    for file in bundle.manifest.files:
        if file.role in ("weights", "description"):
            bundle.checked_path(file)


def untrained_checkpoint(spec: ModelSpec, clips: Waveform, seed: int = 0) -> Checkpoint:
    """Random weights with BatchNorm statistics of real signals, for latency studies.

    Without those statistics the activations fall below what float16 and 8 bits can hold.

    Args:
        clips: sounds of shape ``(n, n_samples)``, n at least 2.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = EAT(spec)
        seed_batch_norm(model, peak_scale(torch.from_numpy(clips)))
    labels = tuple(f"class {index}" for index in range(spec.n_classes))
    return Checkpoint(model.eval(), labels, {"untrained": True, "seed": seed})
