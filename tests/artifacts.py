"""A small trained network and what the exporters make of it, made once per test run.

Every test that changes a bundle changes its own copy (`copy_bundle`). What makes the artifacts is
imported where it is used: a board has no torch, and gets them ready-made (`READY`).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from gmme_edge.audio import Waveform
from gmme_edge.bundle.bundle import MANIFEST
from gmme_edge.data.synthetic import LABELS, make_synthetic
from gmme_edge.spec import Backbone, Downsample, ModelSpec

if TYPE_CHECKING:
    from gmme_calibration.sample import CalibrationSet
    from gmme_edge.models.checkpoint import Checkpoint
    from gmme_edge.models.eat import EAT
    from gmme_exporters.int8.qdq import Ranges
    from gmme_exporters.options import Calibration

READY = "GMME_EDGE_TEST_ARTIFACTS"  # a folder that `tests.ready` filled on a desk
RATE_HZ, N_SAMPLES = 8000, 1024
INCREMENTAL_HOP = 96
# Named so that a folder per class sorts into the order of the synthetic classes.
WORDS = tuple(f"{i}_{label.replace(' ', '_')}" for i, label in enumerate(LABELS))
KINDS = {
    "aa": Downsample("aa"),
    "gmme": Downsample("gmme", 6, 4),
    "gmme-lite": Downsample("gmme-lite", 6, 4),
}


def small_spec(kind: str = "gmme", n_classes: int = len(WORDS)) -> ModelSpec:
    backbone = Backbone(stem_channels=4, embed_dim=16, feedforward_dim=32, n_layers=1, n_heads=4)
    return ModelSpec(f"small-{kind}", backbone, KINDS[kind], RATE_HZ, N_SAMPLES, (2, 2), n_classes)


def sounds(clips_per_class: int = 1, seed: int = 5) -> Waveform:
    """Synthetic clips ``(10 · clips_per_class, N_SAMPLES)``; class i is every tenth."""
    return make_synthetic(clips_per_class, RATE_HZ, N_SAMPLES, seed).samples.reshape(-1, N_SAMPLES)


def scale_by_hand(waveform: Waveform) -> Waveform:
    """Peak scaling in float64 numpy; silence stays silence."""
    peak = np.abs(waveform.astype(np.float64)).max(axis=1, keepdims=True)
    return (0.95 * waveform / np.where(peak > 0, peak, 1)).astype(np.float32)


def torch_logits(model: EAT, waveform: Waveform) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(scale_by_hand(waveform))[:, None]).numpy()


def artifacts_root(factory: pytest.TempPathFactory) -> Path:
    """Where the run's shared artifacts lie; the workers of pytest-xdist share one folder."""
    if READY in os.environ:
        return Path(os.environ[READY])
    own = factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "artifacts"
    path.mkdir(exist_ok=True)
    return path


@contextlib.contextmanager
def first_to_make(root: Path, name: str) -> Iterator[bool]:
    """Whether no worker has made the artifact `name` yet; waits while another one makes it."""
    with (root / f".{name}.made").open("ab") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)  # until the file is closed
        yield not os.fstat(mark.fileno()).st_size
        mark.write(b".")


@functools.cache
def small_checkpoint(root: Path, kind: str = "gmme") -> Path:
    """Random features under a class head that was fitted to synthetic sounds."""
    folder = root / f"checkpoint-{kind}"
    with first_to_make(root, folder.name) as first:
        if first:
            _save_fitted(folder, kind)
    return folder


def _save_fitted(folder: Path, kind: str) -> None:
    import torch

    from gmme_edge.models.checkpoint import save_checkpoint, untrained_checkpoint

    torch.set_num_threads(1)
    clips = sounds(4, seed=1)
    checkpoint = untrained_checkpoint(small_spec(kind), clips)
    model = checkpoint.model
    with torch.no_grad():
        features = model.embed(torch.from_numpy(scale_by_hand(clips))[:, None])
        mean = features.mean(dim=0)
        centred = features - mean
        target = 10 * (torch.eye(len(WORDS)).repeat(4, 1) - 1 / len(WORDS))
        gram = centred.T @ centred + 5 * torch.eye(len(mean))
        head = torch.linalg.solve(gram, centred.T @ target).T
        model.classify.weight.copy_(head)
        model.classify.bias.copy_(-head @ mean)
    save_checkpoint(folder, model.spec, model.state_dict(), WORDS, {"fitted": "class head"})


def open_checkpoint(root: Path, kind: str = "gmme") -> Checkpoint:
    from gmme_edge.models.checkpoint import load_checkpoint

    return load_checkpoint(small_checkpoint(root, kind))


@functools.cache
def calibration_clips() -> CalibrationSet:
    from gmme_calibration.sample import calibration_set

    store = make_synthetic(2, RATE_HZ, N_SAMPLES, seed=3)
    return calibration_set(store, LABELS, N_SAMPLES, "synthetic", seed=3)


def calibration(keep_prepared: Path | None = None) -> Calibration:
    from gmme_calibration.ranges import calibrate_ranges
    from gmme_exporters.int8.qdq import OP_TYPES
    from gmme_exporters.options import Calibration

    clips = calibration_clips()

    def ranges(prepared: Path) -> Ranges:
        if keep_prepared:
            shutil.copy(prepared, keep_prepared)
        return calibrate_ranges(prepared, clips.waveforms, OP_TYPES)

    return Calibration(ranges, clips.to_dict(), clips.sha256)


@functools.cache
def full_bundle(root: Path) -> Path:
    """Every precision at the default opset; ``prepared.onnx``, INT8's source, lies beside it."""
    out = root / "full"
    if READY in os.environ:
        return out
    from gmme_exporters.bundle import export_bundle
    from gmme_exporters.options import ExportOptions

    # The tests of single nodes read the plain graph; of rewritten ones: tests/exporters/lowering.
    options = ExportOptions(("fp32", "fp16", "int8-ort", "int8-tensorrt"), target="generic")
    prepared = root / "prepared.onnx"
    with first_to_make(root, out.name) as first:
        if first:
            export_bundle(open_checkpoint(root), out, options, sounds(), calibration(prepared))
    return out


@functools.cache
def compact_bundle(root: Path, kind: str = "gmme") -> Path:
    """Checkpoint and bundle in one, in a folder of such; named as the small network is."""
    out = root / "shipped" / f"small-{kind}"
    if READY in os.environ:
        return out
    from gmme_exporters.bundle import export_bundle
    from gmme_exporters.options import ExportOptions

    options = ExportOptions(opset=17, compact=True)
    with first_to_make(root, out.name) as first:
        if first:
            export_bundle(open_checkpoint(root, kind), out, options, sounds())
    return out


@functools.cache
def incremental_bundle(root: Path) -> Path:
    """The small network with graphs for windows `INCREMENTAL_HOP` samples apart."""
    out = root / "incremental"
    if READY in os.environ:
        return out
    from gmme_exporters.bundle import export_bundle
    from gmme_exporters.options import ExportOptions

    options = ExportOptions(opset=17, incremental_hop_samples=INCREMENTAL_HOP)
    with first_to_make(root, out.name) as first:
        if first:
            export_bundle(open_checkpoint(root), out, options, sounds())
    return out


@functools.cache
def exported_onnx(root: Path, kind: str, opset: int, embedding: bool = True) -> Path:
    """One graph; torch's dynamo exporter (opset 18 and later) takes 10 s of CPU."""
    if (kind, opset, embedding) == ("gmme", 18, True):
        return full_bundle(root) / "model.fp32.onnx"
    path = root / f"{kind}-{opset}-{embedding}.onnx"
    from gmme_exporters.graphs.export import export_onnx

    with first_to_make(root, path.name) as first:
        if first:
            export_onnx(open_checkpoint(root, kind).model, path, opset, embedding)
    return path


def copy_bundle(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    change(values)
    (bundle / MANIFEST).write_text(json.dumps(values), encoding="utf-8")


def write_words(root: Path, clips_per_class: int = 3, seed: int = 9) -> Path:
    """A tree as Speech Commands is published: of each word one clip tests and one validates."""
    clips = sounds(clips_per_class, seed).reshape(clips_per_class, len(WORDS), N_SAMPLES)
    for label, word in enumerate(WORDS):
        (root / word).mkdir(parents=True, exist_ok=True)
        for i in range(clips_per_class):
            soundfile.write(root / word / f"{i}.wav", clips[i, label], RATE_HZ, subtype="FLOAT")
    for i, name in enumerate(("testing", "validation")):
        lines = "".join(f"{word}/{i}.wav\n" for word in WORDS)
        (root / f"{name}_list.txt").write_text(lines, encoding="utf-8")
    return root


class FakeSession:
    """A session that computes `logits` in numpy; remembers its batches and whether it closed."""

    backend = "fake"

    def __init__(
        self,
        logits: Callable[[np.ndarray], np.ndarray],
        precision: str = "fp32",
        embedding: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.precision = precision
        self._outputs = {"logits": logits} | ({"embedding": embedding} if embedding else {})
        self.batches: list[np.ndarray] = []
        self.closed = False

    def run(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(waveform)
        return {name: compute(waveform) for name, compute in self._outputs.items()}

    def close(self) -> None:
        self.closed = True
