"""One folder that is a checkpoint and a bundle, with its weights stored once, in float16."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import load_file

from gmme_edge.bundle.bundle import MANIFEST, Bundle
from gmme_edge.errors import BundleError, UsageError
from gmme_edge.files import sha256_of
from gmme_edge.models.checkpoint import DESCRIPTION, WEIGHTS, load_checkpoint
from gmme_edge.models.eat import EAT
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.parity import verify_bundle
from gmme_exporters.bundle import export_bundle
from gmme_exporters.graphs.compact import halve_weights
from gmme_exporters.options import ExportOptions
from gmme_exporters.tensorrt.build import EngineOptions, build_engine
from tests.artifacts import (
    WORDS,
    calibration,
    compact_bundle,
    copy_bundle,
    open_checkpoint,
    small_spec,
    sounds,
    torch_logits,
)

FILES = (WEIGHTS, DESCRIPTION, "model.fp32.onnx", "golden.npz")
COMPACT = ExportOptions(opset=17, compact=True)


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    return copy_bundle(compact_bundle(root), tmp_path / "compact")


def logits_of(folder: Path, precision: str = "fp32") -> np.ndarray:
    session = open_session(Bundle.open(folder), "ort-cpu", precision, threads=1)
    try:
        return session.run(sounds())["logits"]
    finally:
        session.close()


def test_both_halves_compute_what_the_rounded_weights_give(root: Path) -> None:
    folder, original = compact_bundle(root), open_checkpoint(root)
    loaded = load_checkpoint(folder)
    assert loaded.labels == WORDS and loaded.training["fitted"] == "class head"
    assert loaded.training["rounded_from_sha256"] == original.sha256
    expected = torch_logits(loaded.model, sounds())
    np.testing.assert_allclose(logits_of(folder), expected, atol=1e-5 * np.abs(expected).max())
    distance = np.abs(expected - torch_logits(original.model, sounds())).max()
    assert 1e-4 < distance / np.abs(expected).max() < 2e-2  # rounded, and no more
    golden = Bundle.open(folder).golden()
    np.testing.assert_array_equal(golden["waveform"] * 32768 % 1, 0)
    exact = torch_logits(loaded.model, golden["waveform"])
    np.testing.assert_allclose(golden["logits"], exact, atol=1e-6 * np.abs(expected).max())


def test_matrices_are_stored_in_float16_and_loaded_as_float32(root: Path) -> None:
    stored = load_file(compact_bundle(root) / WEIGHTS)
    model = load_checkpoint(compact_bundle(root)).model
    trained = {name for name, _ in model.named_parameters()}
    originals = open_checkpoint(root).model.state_dict()
    for key, value in stored.items():
        rounded = key in trained and value.ndim > 1
        assert (value.dtype == torch.float16) == rounded, key
        assert torch.equal(value, originals[key].half() if rounded else originals[key])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_what_float16_cannot_hold_stays_float32() -> None:
    model = EAT(small_spec())
    with torch.no_grad():
        model.project.weight.mul_(1e-7)
        model.classify.weight.mul_(1e7)
        model.encoder[0].qkv.weight.zero_()
    state = halve_weights(model)
    assert state["project.weight"].dtype == state["classify.weight"].dtype == torch.float32
    assert state["encoder.0.qkv.weight"].dtype == torch.float16


def test_training_goes_on_from_it(root: Path) -> None:
    model = load_checkpoint(compact_bundle(root)).model.train()
    waveform = torch.from_numpy(sounds())[:, None]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(model(waveform), torch.arange(10))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_the_graph_holds_no_large_weight(root: Path) -> None:
    """Only kernels that a rewrite laid out anew are in it, with the weights' own 16-bit values."""
    graph = onnx.load(compact_bundle(root) / "model.fp32.onnx", load_external_data=False).graph
    inside = [t for t in graph.initializer if t.data_location != TensorProto.EXTERNAL]
    large = [t for t in inside if len(t.raw_data) >= 1024]
    assert large and all(t.data_type == TensorProto.FLOAT16 for t in large)
    assert {t.name.split(".")[-3] for t in large} == {"conv_f", "conv_t", "conv_g"}
    outside = [t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert len(outside) > 10


@pytest.mark.parametrize(("target", "bound"), [("generic", 1e-6), ("ort-cpu", 1e-5)])
def test_engines_run_the_same_graph_as_from_an_ordinary_bundle(
    root: Path, tmp_path: Path, target: str, bound: float
) -> None:
    """Pointers, casts and scales are gone once it is loaded, so it is as fast."""
    checkpoint = load_checkpoint(compact_bundle(root))
    plain, compact = tmp_path / "plain", tmp_path / "compact"
    for folder in (plain, compact):
        options = ExportOptions(opset=17, target=target, compact=folder == compact)
        export_bundle(checkpoint, folder, options, sounds()[:2])
    counts = []
    for folder in (plain, compact):
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        # Beside the weights: what is written refers to them too.
        settings.optimized_model_filepath = str(
            shutil.copytree(folder, tmp_path / f"of-{folder.name}") / "optimized.onnx"
        )
        onnxruntime.InferenceSession(
            folder / "model.fp32.onnx", settings, providers=["CPUExecutionProvider"]
        )
        optimized = onnx.load(settings.optimized_model_filepath, load_external_data=False)
        counts.append(Counter(node.op_type for node in optimized.graph.node))
    assert counts[0] == counts[1]
    np.testing.assert_allclose(logits_of(compact), logits_of(plain), atol=bound)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_found_and_named(mine: Path, name: str) -> None:
    content = bytearray((mine / name).read_bytes())
    content[-5] ^= 1
    (mine / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        Bundle.open(mine).check_files()
    if name in (WEIGHTS, DESCRIPTION):
        with pytest.raises(BundleError, match=f"{name} is not the file"):
            load_checkpoint(mine)
    if name == WEIGHTS:
        with pytest.raises(BundleError, match=f"{name} is not the file"):
            open_session(Bundle.open(mine))


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: open_session(Bundle.open(folder)),
        lambda folder: Bundle.open(folder).check_files(),
    ],
)
def test_another_networks_weights_are_found(
    root: Path, mine: Path, act: Callable[[Path], object]
) -> None:
    shutil.copy(compact_bundle(root, "aa") / WEIGHTS, mine)
    with pytest.raises(BundleError, match=WEIGHTS):
        act(mine)
    (mine / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=f"{WEIGHTS} is missing"):
        act(mine)


def test_the_manifest_counts_the_weights(root: Path) -> None:
    bundle = Bundle.open(compact_bundle(root))
    assert {file.path for file in bundle.manifest.files} == set(FILES)
    sizes = {name: (bundle.path / name).stat().st_size for name in FILES}
    assert bundle.size_bytes("fp32") == sizes[WEIGHTS] + sizes["model.fp32.onnx"]
    assert bundle.manifest.provenance["checkpoint_sha256"] == open_checkpoint(root).sha256
    assert load_checkpoint(bundle.path).sha256 == sha256_of(bundle.path / WEIGHTS)


def test_other_precisions_are_made_of_the_rounded_weights(root: Path, tmp_path: Path) -> None:
    options = replace(COMPACT, precisions=("fp32", "fp16", "int8-ort"))
    bundle = export_bundle(
        open_checkpoint(root), tmp_path / "out", options, sounds(), calibration()
    )
    assert bundle.precisions == options.precisions and not bundle.weights("int8-ort")
    verify_bundle(bundle, lambda name: open_session(bundle, "ort-cpu", name), bundle.precisions)
    (tmp_path / "out" / WEIGHTS).unlink()
    assert logits_of(tmp_path / "out", "int8-ort").shape == (10, 10)


def test_without_fp32_there_is_nothing_to_share() -> None:
    with pytest.raises(UsageError, match="fp32 among its precisions"):
        ExportOptions(("int8-ort",), compact=True)


def test_a_model_card_stays(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("a card")
    for _ in range(2):
        export_bundle(open_checkpoint(root), out, COMPACT, sounds()[:2])
        assert (out / "README.md").read_text() == "a card"
    (out / MANIFEST).unlink()
    with pytest.raises(UsageError, match="is no bundle"):
        export_bundle(open_checkpoint(root), out, COMPACT, sounds()[:2])


def test_compacting_twice_changes_no_weight(root: Path, tmp_path: Path) -> None:
    first = compact_bundle(root)
    export_bundle(load_checkpoint(first), tmp_path / "again", COMPACT, sounds())
    assert sha256_of(tmp_path / "again" / WEIGHTS) == sha256_of(first / WEIGHTS)


@pytest.mark.slow
def test_tensorrt_builds_from_it(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    graph = compact_bundle(root) / "model.fp32.onnx"
    info = build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions(sm=89))
    assert info.size_bytes > (compact_bundle(root) / WEIGHTS).stat().st_size
