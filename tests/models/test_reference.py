"""State dicts of the EAT reference implementation: its outputs, its names, its files."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gmme_edge.errors import CheckpointError
from gmme_edge.models.eat import EAT
from gmme_edge.models.reference import load_reference_state, read_state_dict, rename_key
from gmme_edge.spec import Backbone, Downsample, ModelSpec
from tests.conftest import TINY, shared
from tests.models.random_weights import randomize
from tests.models.reference_names import as_reference, reference_names

TOLERANCE = 1e-5
STAGES = {"after_stem": "stem", "after_down": "stage1", "after_down2": "stage2",
          "after_project": "project"}  # fmt: skip


def parity_spec(name: str) -> ModelSpec:
    values = json.loads((shared("reference/eat-parity") / "configs.json").read_text())[name]
    backbone = Backbone(
        values["nf"], values["embed_dim"], values["dim_feedforward"], values["n_layers"],
        values["nhead"],
    )  # fmt: skip
    factors = tuple(values["factors"])
    aa, n_samples = Downsample("aa"), values["seq_len"]
    return ModelSpec(name, backbone, aa, 22_050, n_samples, factors, values["n_classes"])


def parity_tensors(name: str, kind: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(
        shared("reference/eat-parity") / f"{name}.{kind}.safetensors"
    )
    return tensors


@pytest.fixture(params=["three-stage", "four-stage"])
def parity(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run_with_stages(model: EAT, waveform: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output

        getattr(model, STAGES[name]).register_forward_hook(hook)

    for name in STAGES:
        keep(name)
    with torch.no_grad():
        outputs["logits"] = model(waveform)
    return outputs


def test_every_output_of_the_reference_implementation(parity: str) -> None:
    model = load_reference_state(parity_spec(parity), parity_tensors(parity, "state"))
    recorded = parity_tensors(parity, "io")
    waveform = recorded.pop("waveform")
    outputs = run_with_stages(model, waveform)
    outputs["after_stem"] = outputs["after_stem"][..., :256]  # all that was recorded
    assert set(outputs) == set(recorded) == {*STAGES, "logits"}
    for name, wanted in recorded.items():
        assert outputs[name].shape == wanted.shape
        np.testing.assert_allclose(outputs[name], wanted, rtol=0, atol=TOLERANCE, err_msg=name)
        assert float(wanted.std()) > 100 * TOLERANCE, "too small for the tolerance to mean much"


@pytest.mark.parametrize("form", ["safetensors", "torch", "wrapped", "prefixed", "ordered"])
def test_file_forms(parity: str, form: str, tmp_path: Path) -> None:
    """Whatever the file looks like, the logits are the recorded ones."""
    state = parity_tensors(parity, "state")
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "torch":
        torch.save(state, path)
    elif form == "wrapped":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif form == "prefixed":  # of DistributedDataParallel
        torch.save({"model_state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save(OrderedDict(state), path)
    model = load_reference_state(parity_spec(parity), read_state_dict(path))
    recorded = parity_tensors(parity, "io")
    with torch.no_grad():
        logits = model(recorded["waveform"])
    np.testing.assert_allclose(logits, recorded["logits"], rtol=0, atol=TOLERANCE)


def test_names(parity: str) -> None:
    """The table of this test has exactly the keys of the real state dicts."""
    spec = parity_spec(parity)
    names = reference_names(len(spec.factors), spec.backbone.n_layers)
    assert set(names) == set(parity_tensors(parity, "state"))
    assert {rename_key(theirs): theirs for theirs in names} == {
        ours: theirs for theirs, ours in names.items()
    }
    assert {rename_key(f"module.{theirs}") for theirs in names} == set(names.values())


def test_own_names_pass_unchanged() -> None:
    for kind in (Downsample("aa"), Downsample("gmme", 8, 4), Downsample("gmme-lite", 8, 4)):
        model = EAT(replace(TINY, downsample=kind))
        randomize(model)
        again = load_reference_state(model.spec, model.state_dict()).state_dict()
        assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


@pytest.fixture
def state() -> dict[str, Tensor]:
    return as_reference(EAT(TINY))


def test_missing_key_is_named(state: dict[str, Tensor]) -> None:
    del state["down.0.down.1.weight"]
    with pytest.raises(CheckpointError, match=r"missing stage1\.0\.conv\.weight \(8, 4, 5\)"):
        load_reference_state(TINY, state)


def test_unknown_key_is_named(state: dict[str, Tensor]) -> None:
    state["tf.extra"] = torch.zeros(2, 3)
    with pytest.raises(CheckpointError, match=r"unknown tf\.extra \(2, 3\)"):
        load_reference_state(TINY, state)


def test_wrong_shape_is_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_reference_state(replace(TINY, n_classes=4), state)
    assert "classify.weight has shape (3, 32), not (4, 32)" in str(caught.value)
    assert "classify.bias has shape (3,), not (4,)" in str(caught.value)
    assert "--classes" in str(caught.value)


def test_many_mismatches_are_counted() -> None:
    with pytest.raises(CheckpointError, match=r"… and \d+ more"):
        load_reference_state(TINY, {})


def test_counters_may_be_missing(state: dict[str, Tensor]) -> None:
    """State dicts of old torch versions have no num_batches_tracked."""
    without = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    loaded = load_reference_state(TINY, without).state_dict()
    assert torch.equal(loaded["stem.conv.weight"], state["start.1.weight"])


class Attack:
    """Unpickles by creating a file: proof that code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (str(self.path),))


def _touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, proof = tmp_path / "weights.pt", tmp_path / "proof"
    content = {"start.1.weight": torch.zeros(1), "attack": Attack(proof)}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"weights\.pt cannot be read"):
        read_state_dict(path)
    assert not proof.exists()
    if form == "torch":  # the attack would have worked
        torch.load(path, weights_only=False)
        assert proof.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pt", b""), ("a.pt", b"not a torch file"), ("a.safetensors", b""),
     ("a.safetensors", b"\x10\0\0\0\0\0\0\0{}"), ("a.safetensors", b"\xff" * 64)],
)  # fmt: skip
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state_dict(path)


def test_truncated_torch_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "a.pt"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "content", [[torch.zeros(1)], {"a": 3}, torch.zeros(2), {"model": {"a": 1}}]
)
def test_files_without_a_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_state_dict(path)


def test_absent_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(CheckpointError, match="is no file"):
            read_state_dict(path)
