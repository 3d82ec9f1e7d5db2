"""Checkpoints: bit-exact round trips, and every kind of damage named."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gmme_edge.errors import CheckpointError
from gmme_edge.files import sha256_of
from gmme_edge.models.checkpoint import DESCRIPTION, WEIGHTS, load_checkpoint, save_checkpoint
from gmme_edge.models.description import read_description
from gmme_edge.models.eat import EAT
from gmme_edge.spec import ModelSpec
from tests.conftest import TINY
from tests.models.random_weights import randomize

LABELS = ("dog", "Käse", "two words")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(EAT(TINY), tmp_path / "checkpoint")


def save(model: EAT, folder: Path) -> Path:
    randomize(model)
    save_checkpoint(folder, model.spec, model.state_dict(), LABELS, {"epochs": 3})
    return folder


def edit(folder: Path, **changes: Any) -> None:  # noqa: ANN401 - any JSON value
    """As someone does who means it: without the hash of what it was."""
    path = folder / DESCRIPTION
    values = json.loads(path.read_text()) | {"sha256": ...} | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def test_round_trip_is_bit_exact(tiny: ModelSpec, tmp_path: Path) -> None:
    model = EAT(tiny)
    loaded = load_checkpoint(save(model, tmp_path / "new" / "folder"))
    assert loaded.spec == tiny and loaded.labels == LABELS and loaded.training == {"epochs": 3}
    state = loaded.model.state_dict()
    assert list(state) == list(model.state_dict())
    for key, value in model.state_dict().items():
        assert state[key].dtype == value.dtype and torch.equal(state[key], value), key
    assert loaded.sha256 == sha256_of(tmp_path / "new" / "folder" / WEIGHTS)
    assert not loaded.model.training
    x = torch.randn(2, 1, tiny.n_samples)
    with torch.no_grad():
        assert torch.equal(loaded.model(x), model.eval()(x))


def test_saving_again_replaces(folder: Path) -> None:
    first = load_checkpoint(folder)
    other = EAT(TINY)
    save_checkpoint(folder, TINY, other.state_dict(), ("a", "b", "c"), {})
    again = load_checkpoint(folder)
    assert again.labels == ("a", "b", "c") and again.sha256 != first.sha256
    assert {p.name for p in folder.iterdir()} == {WEIGHTS, DESCRIPTION}


def test_non_contiguous_tensors_are_saved(tmp_path: Path) -> None:
    """safetensors itself refuses them."""
    state = EAT(TINY).state_dict()
    state["project.weight"] = torch.randn(128, 32, 1).transpose(0, 1)
    save_checkpoint(tmp_path, TINY, state, LABELS, {})
    loaded = load_checkpoint(tmp_path).model.state_dict()
    assert torch.equal(loaded["project.weight"], state["project.weight"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / WEIGHTS).unlink(), f"no {WEIGHTS}"),
        (lambda f: (f / DESCRIPTION).unlink(), f"no {DESCRIPTION}"),
        (lambda f: cut(f / WEIGHTS), "damaged"),
        (lambda f: (f / WEIGHTS).write_bytes(b""), "damaged"),
        (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 100), "damaged"),
        (lambda f: cut(f / DESCRIPTION), "no readable JSON"),
        (lambda f: edit(f, schema=2), "schema 2"),
        (lambda f: edit(f, schema=...), "no schema"),
        (lambda f: edit(f, model=...), "damaged: KeyError: 'model'"),
        (lambda f: edit(f, model="eat-s-aa"), "damaged"),
        (lambda f: edit(f, model={**TINY.to_dict(), "n_samples": 5}), "too short"),
        (lambda f: edit(f, model={**TINY.to_dict(), "n_samples": float("inf")}), "damaged"),
        (lambda f: edit(f, labels=["a", "b"]), "2 labels for 3 classes"),
        (lambda f: edit(f, labels=None), "damaged"),
        (lambda f: edit(f, training=...), "damaged: KeyError: 'training'"),
        (lambda f: edit(f, training=3), "damaged"),
        (lambda f: edit(f, model={**TINY.to_dict(), "factors": [4, 4]}), "do not fit"),
        (lambda f: edit(f, model={**TINY.to_dict(), "n_samples": 16384}), "position has shape"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_no_pickle_is_loaded(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps({"a": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder)
    (folder / WEIGHTS).unlink()
    torch.save(EAT(TINY).state_dict(), folder / "model.pt")
    with pytest.raises(CheckpointError, match=f"no {WEIGHTS}"):
        load_checkpoint(folder)


def test_wrong_number_of_labels_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="2 labels for 3 classes"):
        save_checkpoint(tmp_path / "new", TINY, EAT(TINY).state_dict(), ("a", "b"), {})
    assert not (tmp_path / "new").exists()


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gmme-edge train"):
        load_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize("labels", [LABELS, LABELS[::-1]])
def test_new_weights_never_stand_beside_another_networks_labels(
    folder: Path, monkeypatch: pytest.MonkeyPatch, labels: tuple[str, ...]
) -> None:
    """A kill between the two files: the same network's description stays, another's is gone."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gmme_edge.models.checkpoint.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, TINY, EAT(TINY).state_dict(), labels, {})
    if labels == LABELS:
        assert load_checkpoint(folder).labels == LABELS
    else:
        with pytest.raises(CheckpointError, match=DESCRIPTION):
            load_checkpoint(folder)


def test_a_flipped_bit_in_the_weights_is_noticed(folder: Path) -> None:
    """The file's own format would let it pass."""
    path = folder / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="not those that were written"):
        load_checkpoint(folder)


def test_a_flipped_letter_in_the_description_is_noticed(folder: Path) -> None:
    """Wherever it is: the file stays JSON, and says something else."""
    path = folder / DESCRIPTION
    text = path.read_text(encoding="utf-8")
    assert load_checkpoint(folder).labels == LABELS
    for i, letter in enumerate(text):
        if not letter.isalnum():
            continue
        other = "1" if letter != "1" else "2"
        path.write_text(text[:i] + other + text[i + 1 :], encoding="utf-8")
        with pytest.raises(CheckpointError):
            read_description(folder)


def test_a_description_of_before_has_no_hash(folder: Path) -> None:
    edit(folder, sha256=...)
    assert load_checkpoint(folder).labels == LABELS


@pytest.mark.parametrize("what", ["numbers of another type", "NaN", "infinity"])
def test_weights_that_no_training_gave_are_refused(tmp_path: Path, what: str) -> None:
    state = EAT(TINY).state_dict()
    state["norm.weight"] = {
        "numbers of another type": state["norm.weight"].view(torch.int32),
        "NaN": state["norm.weight"] * float("nan"),
        "infinity": state["norm.weight"] + float("inf"),
    }[what]
    save_checkpoint(tmp_path, TINY, state, LABELS, {})
    with pytest.raises(CheckpointError, match=r"norm\.weight holds"):
        load_checkpoint(tmp_path)


def test_another_type_of_the_same_bytes_is_noticed(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(CheckpointError, match="not those that were written"):
        load_checkpoint(folder)


@pytest.mark.parametrize("part", ["n_layers", "embed_dim", "n_samples"])
def test_a_huge_network_is_refused_before_it_is_built(folder: Path, part: str) -> None:
    values = json.loads((folder / DESCRIPTION).read_text())
    inner = values["model"] if part == "n_samples" else values["model"]["backbone"]
    inner[part] = 1 << 31
    del values["sha256"]
    (folder / DESCRIPTION).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"{part} is 2147483648"):
        load_checkpoint(folder)
