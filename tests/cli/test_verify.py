from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.files import sha256_of
from tests.artifacts import copy_bundle, edit_manifest, incremental_bundle


@pytest.fixture
def mine(bundle: Path, tmp_path: Path) -> Path:
    return copy_bundle(bundle, tmp_path / "bundle")


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def change_golden(bundle: Path, offset: float) -> None:
    """Other reference logits."""
    change_arrays(bundle, lambda v: v.update(logits=v["logits"] + np.float32(offset)))


def test_an_intact_bundle(bundle: Path) -> None:
    result = verify(bundle, "--json", "--threads", 1)
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["passed"] is True and values["backend"] == "ort-cpu"
    assert set(values["parity"]) == {"fp32", "fp16", "int8-ort"}
    assert values["parity"]["fp32"]["relative"] < 1e-5
    assert values["parity"]["fp16"]["limit"] == 3e-2


def test_the_table(bundle: Path) -> None:
    result = verify(bundle, "--precision", "fp32, int8-tensorrt")
    assert result.exit_code == 0, result.stderr
    assert "6 files intact." in result.stdout
    assert "int8-tensorrt on ort-cpu: computes here what it computed there." in result.stdout
    assert "int8-tensorrt" in result.stdout and "fp16" not in result.stdout


def change_arrays(bundle: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Other golden vectors, under a hash that fits."""
    path = bundle / "golden.npz"
    with np.load(path) as arrays:
        golden = dict(arrays)
    change(golden)
    np.savez(path, **golden)
    entry = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}
    edit_manifest(bundle, lambda values: values["files"][-1].update(entry))


def test_int8_is_held_to_its_own_outputs_and_told_apart_from_floats(mine: Path) -> None:
    def swap_labels(golden: dict[str, np.ndarray]) -> None:
        golden["logits"] = golden["logits"][:, ::-1].copy()

    edit_manifest(mine, lambda values: values["parity"]["int8-ort"].update(limit=9.0))
    change_arrays(mine, swap_labels)
    result = verify(mine, "--precision", "int8-ort")
    assert result.exit_code == 0, result.stderr
    assert "agree" not in result.stdout
    assert "int8-ort on ort-cpu: computes here what it computed there." in result.stdout
    assert "int8-ort gives another label than floating point for " in result.stdout
    change_arrays(mine, lambda golden: golden.update({"logits.int8-ort": golden["logits"]}))
    result = verify(mine, "--precision", "int8-ort")
    assert result.exit_code == 5 and "the same graph gave when it was exported" in result.stderr
    fix = "Fix: use --precision fp32 here; or see with `gmme-edge evaluate … --backend ort-cpu "
    assert f"{fix}--precision int8-ort` what it costs." in result.stderr


def test_a_bundle_without_outputs_of_its_own_says_so(mine: Path) -> None:
    change_arrays(mine, lambda golden: golden.pop("logits.fp32"))
    result = verify(mine, "--precision", "fp32,fp16", "--json")
    values = json.loads(result.stdout)
    assert values["repeat"]["fp32"] is None and values["repeat"]["fp16"]["relative"] < 1e-3
    result = verify(mine, "--precision", "fp32")
    assert "not compared" in result.stdout and "computed there" not in result.stdout


def test_a_changed_file_is_exit_code_3(mine: Path) -> None:
    content = bytearray((mine / "model.fp16.onnx").read_bytes())
    content[1000] ^= 4
    (mine / "model.fp16.onnx").write_bytes(content)
    result = verify(mine, "--precision", "fp32", "--json")
    assert result.exit_code == 3 and result.stdout == ""
    assert "model.fp16.onnx is not the file that was exported" in result.stderr


def test_a_manifest_of_the_future_is_exit_code_3(mine: Path) -> None:
    edit_manifest(mine, lambda values: values.update(schema=2))
    assert verify(mine).exit_code == 3


def test_other_outputs_are_exit_code_5(mine: Path) -> None:
    change_golden(mine, 1e-4)
    assert verify(mine).exit_code == 0
    change_golden(mine, 0.5)
    result = verify(mine, "--json")
    assert result.exit_code == 5 and result.stdout == ""
    assert "fp32 on ort-cpu disagrees with its reference" in result.stderr
    assert json.loads(result.stderr)["error"]["fix"].startswith("use another machine or library")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here"
)
def test_a_backend_that_is_not_here_is_exit_code_7(bundle: Path) -> None:
    result = verify(bundle, "--backend", "ort-cuda")
    assert result.exit_code == 7 and "CUDAExecutionProvider" in result.stderr


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_no_engine_to_verify_is_no_success(bundle: Path, backend: str) -> None:
    result = verify(bundle, "--backend", backend)
    assert result.exit_code == 2 and "nothing was compared" in result.stderr


@pytest.mark.parametrize(
    "options", [("--precision", "fp8"), ("--backend", "coreml"), ("--threads", "0"), ("--what",)]
)
def test_wrong_options_are_exit_code_2(bundle: Path, options: tuple[str, ...]) -> None:
    assert verify(bundle, *options).exit_code == 2


def test_no_bundle_is_exit_code_3(tmp_path: Path) -> None:
    assert verify(tmp_path).exit_code == 3


def test_incremental_graphs_are_verified_too(root: Path, tmp_path: Path) -> None:
    """Steps that no longer compute what whole windows do, though their hash is right."""
    mine = copy_bundle(incremental_bundle(root), tmp_path / "bundle")
    found = json.loads(verify(mine, "--json").stdout)["incremental"]
    assert 0 < found["relative"] < 1e-5 and found["n_clips"] == 4 + 4
    assert "The incremental graphs compute" in verify(mine).stdout
    path = mine / "incremental.step.onnx"
    graph = onnx.load(path)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), tensor.name))
    onnx.save(graph, path)
    entry = {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}

    def rehash(values: dict[str, list[dict[str, object]]]) -> None:
        for file in values["files"]:
            if file["path"] == path.name:
                file.update(entry)

    edit_manifest(mine, rehash)
    done = verify(mine)
    assert done.exit_code == 5 and "incremental graphs" in done.stderr
