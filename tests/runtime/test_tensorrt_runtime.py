"""The TensorRT backends on a stand-in for GPU and library; the real GPU is checked on hardware."""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gmme_edge.bundle.bundle import Bundle, describe_file
from gmme_edge.cli.app import app
from gmme_edge.errors import (
    BundleError,
    EngineError,
    PlatformError,
    UsageError,
)
from gmme_edge.profiling.latency import Contender, LatencySettings
from gmme_edge.profiling.layers import profile_layers
from gmme_edge.report.documents import load_result
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.engines.info import EngineInfo, sidecar_of
from gmme_edge.runtime.engines.session import TensorRTSession
from tests.bundles import TINY, make_bundle, reference
from tests.fake_gpu import PLAN, VERSION, FakeCuda, FakeLibrary, install_cuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    install_cuda(monkeypatch, {"libcudart.so.12": fake})
    return fake


@pytest.fixture
def library(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


def add_engine(
    bundle: Bundle, name: str = "model", plan: bytes = PLAN, **changes: object
) -> Bundle:
    """List an engine that fits the stand-ins, but for `changes` in its sidecar."""
    path = bundle.path / f"{name}.engine"
    path.write_bytes(plan)
    described = describe_file(bundle.path, path.name, "engine", "fp32")
    info = EngineInfo(
        onnx_sha256=bundle.find("model", "fp32").sha256,
        engine_sha256=described.sha256,
        size_bytes=described.size_bytes,
        flavour="tensorrt",
        version=VERSION,
        compute_capability="8.9",
        gpu_name="Fake GPU",
        driver="550.54.14",
        jetpack="",
        precision="fp32",
        min_batch=1,
        opt_batch=1,
        max_batch=8,
        n_layers=3,
        build_s=1.5,
    )
    info = replace(info, **changes)  # type: ignore[arg-type]
    info.write(path)
    files = (
        replace(described, target=info.target),
        describe_file(bundle.path, sidecar_of(path).name, "engine-sidecar", "fp32", info.target),
    )
    Bundle(
        bundle.path, replace(bundle.manifest, files=bundle.manifest.files + files)
    ).save_manifest()
    return Bundle.open(bundle.path)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return add_engine(make_bundle(tmp_path / "bundle"))


def waveforms(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, TINY.n_samples)).astype(np.float32)


@pytest.mark.parametrize("n_clips", [1, 8, 9, 19])
def test_outputs_are_the_networks_for_any_batch(
    library: FakeLibrary, bundle: Bundle, n_clips: int
) -> None:
    session = open_session(bundle, "tensorrt", "fp32")
    for _ in range(2):
        outputs = session.run(waveforms(n_clips))
        for name, expected in reference(waveforms(n_clips)).items():
            assert outputs[name].dtype == np.float32
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-6)
    session.close()


@pytest.mark.parametrize("n_clips", [1, 5])
def test_a_batch_below_the_profiles_smallest_is_filled_up(
    library: FakeLibrary, tmp_path: Path, n_clips: int
) -> None:
    library.profile = (3, 4)
    bundle = add_engine(make_bundle(tmp_path / "bundle"), min_batch=3, opt_batch=4, max_batch=4)
    outputs = TensorRTSession(bundle, "tensorrt", "fp32").run(waveforms(n_clips))
    expected = reference(waveforms(n_clips))["logits"]
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_batch_that_stays_on_the_gpu_gives_the_same(
    library: FakeLibrary, cuda: FakeCuda, bundle: Bundle, cuda_graph: bool
) -> None:
    session = TensorRTSession(bundle, "tensorrt", "fp32", cuda_graph=cuda_graph)
    resident = session.resident(waveforms(5))
    for _ in range(3):
        resident()
    for name, expected in reference(waveforms(5)).items():
        np.testing.assert_allclose(resident.fetch()[name], expected, rtol=1e-5, atol=1e-6)
    assert cuda.launches == (3 if cuda_graph else 0)
    with pytest.raises(UsageError, match="A batch of 9 at once on an engine for 8"):
        session.resident(waveforms(9))
    session.close()
    gc.collect()
    assert not (cuda.graphs or cuda.blocks or cuda.queues or list(library.alive))


def test_a_cuda_graph_computes_whatever_lies_in_its_input(
    library: FakeLibrary, cuda: FakeCuda, bundle: Bundle
) -> None:
    session = open_session(bundle, "tensorrt", "fp32", cuda_graph=True)
    for seed in (1, 2):
        batch = np.random.default_rng(seed).normal(size=(2, TINY.n_samples)).astype(np.float32)
        expected = reference(batch)["logits"]
        np.testing.assert_allclose(session.run(batch)["logits"], expected, rtol=1e-5, atol=1e-6)
    assert cuda.launches == 2
    with pytest.raises(UsageError, match="A batch of 3 for a CUDA graph of 2"):
        session.run(waveforms(3))
    with pytest.raises(UsageError, match="on an engine for 8"):
        session.run(waveforms(9))
    session.close()
    assert not cuda.graphs


def test_a_capture_that_fails_is_an_error_and_leaves_nothing(
    library: FakeLibrary, cuda: FakeCuda, bundle: Bundle
) -> None:
    cuda.failing["cudaGraphInstantiateWithFlags"] = 1
    session = TensorRTSession(bundle, "tensorrt", "fp32", cuda_graph=True)
    with pytest.raises(PlatformError, match="cudaGraphInstantiateWithFlags failed"):
        session.run(waveforms(1))
    session.close()
    assert not (cuda.graphs or cuda.blocks or cuda.queues)


LAYERS = [
    ("stem.conv/Conv + stem.act/PRelu", 2.0),
    ("Reformatting CopyNode for Input Tensor 0", 0.25),
    ("{ForeignNode[stage1.0.norm/Sub...classify/Gemm]}", 3.0),
    ("Reformatting CopyNode for Input Tensor 0", 0.25),
]


def test_an_engines_layers_are_told_by_its_profiler_and_summed_by_block(
    library: FakeLibrary, bundle: Bundle, tmp_path: Path
) -> None:
    library.layer_ms = LAYERS
    profile = profile_layers(Contender(bundle, "tensorrt", "fp32"), LatencySettings(1, 3))
    assert profile.backend == "tensorrt" and profile.total_ms == pytest.approx(5.5)
    assert profile.blocks_ms() == {"stem": 2.0, "stage1.0 … head": 3.0, "engine": 0.5}
    assert profile.operators_ms() == {"Sub + Gemm": 3.0, "Conv + PRelu": 2.0, "engine": 0.5}
    words = ["profile", str(bundle.path), "--layers", "--backend", "tensorrt"]
    done = CliRunner().invoke(app, [*words, "--repetitions", "2", "-o", str(tmp_path / "l.json")])
    assert done.exit_code == 0, done.stderr
    assert "fp32, on tensorrt, batch 1: 5.50 ms" in done.stdout
    assert load_result(tmp_path / "l.json", ("layers",)).profiles[0].backend == "tensorrt"


def test_an_engine_that_tells_of_no_layer_is_an_error(library: FakeLibrary, bundle: Bundle) -> None:
    session = TensorRTSession(bundle, "tensorrt", "fp32")
    with pytest.raises(EngineError, match="told of no layer"):
        session.time_layers(waveforms(1))
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.time_layers(waveforms(1))


def test_the_engine_that_fits_is_chosen_among_several(
    library: FakeLibrary, cuda: FakeCuda, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    bundle = add_engine(bundle, "older", b"?", version="8.6.2.3")
    bundle = add_engine(bundle, "rtx", b"?", flavour="tensorrt-rtx")
    bundle = add_engine(bundle, "orin", b"?", compute_capability="8.7")
    bundle = add_engine(bundle, "right")
    session = TensorRTSession(bundle, "tensorrt", "fp32")
    assert (session.backend, session.precision) == ("tensorrt", "fp32")
    assert library.loads == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "8.6.2.3"}, ("8.6.2.3", VERSION)),
        ({"compute_capability": "8.7"}, ("8.7", "8.9")),
        ({"onnx_sha256": "0" * 64}, ("another ONNX file",)),
        ({"engine_sha256": "0" * 64}, ("not the engine that its sidecar describes",)),
        ({"flavour": "tensorrt-rtx"}, ("no tensorrt engine",)),
    ],
)
def test_a_mismatch_is_explained_before_anything_is_loaded(
    library: FakeLibrary, tmp_path: Path, changes: dict[str, str], said: tuple[str, ...]
) -> None:
    bundle = add_engine(make_bundle(tmp_path / "bundle"), **changes)
    with pytest.raises(EngineError) as caught:
        TensorRTSession(bundle, "tensorrt", "fp32")
    for text in (*said, "gmme-edge export", "--engine tensorrt"):
        assert text in str(caught.value)
    assert library.loads == 0


def test_a_bundle_without_engine_or_precision_says_so(library: FakeLibrary, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    with pytest.raises(EngineError, match=r"no tensorrt engine of precision fp32"):
        TensorRTSession(bundle, "tensorrt", "fp32")
    with pytest.raises(UsageError, match="no model of precision 'fp16'"):
        TensorRTSession(bundle, "tensorrt", "fp16")


def test_damaged_files_are_found(library: FakeLibrary, bundle: Bundle) -> None:
    engine = bundle.path / "model.engine"
    engine.write_bytes(PLAN[:-1])
    with pytest.raises(BundleError, match="not the file that was exported"):
        TensorRTSession(bundle, "tensorrt", "fp32")
    sidecar_of(engine).unlink()
    with pytest.raises(BundleError, match="missing"):
        TensorRTSession(bundle, "tensorrt", "fp32")
    files = tuple(f for f in bundle.manifest.files if f.role != "engine-sidecar")
    unlisted = Bundle(bundle.path, replace(bundle.manifest, files=files))
    with pytest.raises(BundleError, match=r"lists no model\.engine\.json"):
        TensorRTSession(unlisted, "tensorrt", "fp32")


@pytest.mark.parametrize(
    ("field", "value"), [("max_batch", "8"), ("build_s", None), ("n_layers", True), ("schema", 2)]
)
def test_a_sidecar_with_a_wrong_field_is_refused(bundle: Bundle, field: str, value: object) -> None:
    engine = bundle.path / "model.engine"
    values = json.loads(sidecar_of(engine).read_text())
    assert EngineInfo.read(engine).to_dict() == values
    sidecar_of(engine).write_text(json.dumps(values | {field: value}))
    with pytest.raises(BundleError, match=field):
        EngineInfo.read(engine)


def test_the_librarys_reason_for_a_failed_load_is_reported(
    library: FakeLibrary, cuda: FakeCuda, tmp_path: Path
) -> None:
    bundle = add_engine(make_bundle(tmp_path / "bundle"), plan=b"built on another platform")
    with pytest.raises(EngineError, match="Platform specific tag mismatch detected"):
        TensorRTSession(bundle, "tensorrt", "fp32")
    assert not cuda.blocks
    assert not cuda.queues


def test_close_frees_everything_and_may_be_called_twice(
    library: FakeLibrary, cuda: FakeCuda, bundle: Bundle
) -> None:
    session = TensorRTSession(bundle, "tensorrt", "fp32")
    assert len(cuda.blocks) == 3
    session.close()
    session.close()
    gc.collect()
    assert not cuda.blocks
    assert not cuda.queues
    assert not library.alive
    with pytest.raises(UsageError, match="closed"):
        session.run(waveforms(1))


@pytest.mark.parametrize("failure", ["cudaMalloc", "cudaStreamCreateWithFlags", "context"])
def test_a_failed_start_frees_what_it_took(
    library: FakeLibrary, cuda: FakeCuda, bundle: Bundle, failure: str
) -> None:
    library.context_fails = failure == "context"
    cuda.failing = {failure: 2}
    with pytest.raises(PlatformError, match=r"(?i)out ?of ?memory"):
        TensorRTSession(bundle, "tensorrt", "fp32")
    assert not cuda.blocks
    assert not cuda.queues


@pytest.mark.parametrize("failure", ["execute", "cudaMemcpyAsync", "shape"])
def test_a_failed_run_is_reported_and_the_next_one_works(
    library: FakeLibrary, cuda: FakeCuda, bundle: Bundle, failure: str
) -> None:
    session = TensorRTSession(bundle, "tensorrt", "fp32")
    if failure == "cudaMemcpyAsync":
        cuda.failing = {failure: 700}
    library.execution_fails = failure == "execute"
    library.profile = (9, 9) if failure == "shape" else (1, 8)
    said = {"execute": "illegal access", "shape": "outside the profile"}.get(failure, failure)
    with pytest.raises(PlatformError, match=said):
        session.run(waveforms(2))
    cuda.failing, library.execution_fails, library.profile = {}, False, (1, 8)
    np.testing.assert_allclose(
        session.run(waveforms(2))["logits"], reference(waveforms(2))["logits"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("logits", ((-1, 3), "float16")),
        ("waveform", ((-1, 99), "float32")),
        ("waveform", ((1, TINY.n_samples), "float32")),
        ("more", ((-1, 3), "float32")),
    ],
)
def test_an_engine_of_another_network_is_refused(
    library: FakeLibrary, bundle: Bundle, name: str, tensor: tuple[tuple[int, ...], str]
) -> None:
    library.tensors[name] = tensor
    with pytest.raises(EngineError, match="float32"):
        TensorRTSession(bundle, "tensorrt", "fp32")


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or Path("/dev/nvidiactl").exists(),
    reason="for machines with TensorRT-RTX and without a GPU",
)
def test_this_machine_without_a_gpu_says_so(bundle: Bundle) -> None:
    with pytest.raises(PlatformError, match=r"no usable GPU|No CUDA runtime library") as caught:
        open_session(bundle, "tensorrt-rtx", "fp32")
    assert "--backend ort-cpu" in str(caught.value)
