from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from gmme_edge.errors import (
    BundleError,
    GmmeEdgeError,
    MissingDependencyError,
    PlatformError,
    UsageError,
)
from gmme_edge.installation import install_command
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.onnxruntime import OnnxRuntimeSession, check
from gmme_edge.runtime.ort_loading import make_options, worth_spinning
from gmme_edge.spec import preset
from tests.bundles import TINY, make_bundle, reference, tiny_graph


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_outputs_are_those_of_numpy(tmp_path: Path, batch: int, threads: int | None) -> None:
    session = open_session(make_bundle(tmp_path), threads=threads)
    waveform = np.random.default_rng(3).normal(size=(batch, TINY.n_samples)).astype(np.float32)
    outputs = session.run(waveform)
    assert list(outputs) == ["logits", "embedding"]
    for name, expected in reference(waveform).items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)


def test_strided_and_float64_input_gives_the_same(tmp_path: Path) -> None:
    session = open_session(make_bundle(tmp_path))
    waveform = np.random.default_rng(3).normal(size=(4, TINY.n_samples)).astype(np.float32)
    strided = np.asfortranarray(waveform)[::2].astype(np.float64)
    np.testing.assert_array_equal(
        session.run(strided)["logits"],  # type: ignore[arg-type]
        session.run(waveform[::2].copy())["logits"],
    )


@pytest.mark.parametrize("shape", [(TINY.n_samples,), (0, TINY.n_samples), (1, 100)])
def test_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="8192"):
        open_session(make_bundle(tmp_path)).run(np.zeros(shape, np.float32))


def test_a_closed_session_does_not_run(tmp_path: Path) -> None:
    session = open_session(make_bundle(tmp_path))
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run(np.zeros((1, TINY.n_samples), np.float32))


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        open_session(make_bundle(tmp_path), threads=threads)


def _without_graph() -> onnx.ModelProto:
    model = tiny_graph()
    model.ClearField("graph")
    return model


def _with_unknown_operator() -> onnx.ModelProto:
    model = tiny_graph()
    model.graph.node[0].op_type = "FromTheFuture"
    return model


def _with_unknown_domain() -> onnx.ModelProto:
    model = tiny_graph()
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (b"garbage", BundleError, "export it again"),
        (tiny_graph().SerializeToString()[:300], BundleError, "export it again"),
        (_without_graph(), BundleError, "export it again"),
        (tiny_graph(input_name="audio"), BundleError, "waveform"),
        (tiny_graph(output_name="scores"), BundleError, "logits"),
        (tiny_graph(opset=99), PlatformError, "upgrade onnxruntime"),
        (tiny_graph(ir=99), PlatformError, "upgrade onnxruntime"),
        (_with_unknown_operator(), PlatformError, "upgrade onnxruntime"),
        (_with_unknown_domain(), PlatformError, "upgrade onnxruntime"),
    ],
)
def test_what_does_not_load_is_told_apart(
    tmp_path: Path,
    graph: onnx.ModelProto | bytes,
    error: type[GmmeEdgeError],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_session(make_bundle(tmp_path, graph=graph))
    assert type(caught.value) is error


def test_a_file_changed_since_the_export_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    path = tmp_path / "model.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="SHA-256"):
        open_session(bundle)


def test_an_absent_precision_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fp32"):
        open_session(make_bundle(tmp_path), precision="fp16")


def test_cuda_is_refused_by_a_build_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PlatformError, match="CUDAExecutionProvider"):
        open_session(make_bundle(tmp_path), "ort-cuda")
    with pytest.raises(PlatformError, match="gpu"):
        check("ort-cuda")
    check("ort-cpu")


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    fallen = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: fallen)
    with pytest.raises(PlatformError, match="fell back"):
        open_session(make_bundle(tmp_path), "ort-cuda")


def test_a_batch_that_stays_on_the_device_gives_the_same(tmp_path: Path) -> None:
    """The device is the CPU here; ONNX Runtime's calls are those for a GPU."""
    session = OnnxRuntimeSession(make_bundle(tmp_path), "ort-cpu", "fp32")
    waveform = np.random.default_rng(3).normal(size=(2, TINY.n_samples)).astype(np.float32)
    resident = session.resident(waveform)
    resident()
    outputs = resident.fetch()
    for name, expected in reference(waveform).items():
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.resident(waveform)


def test_a_cuda_graph_is_asked_for_and_keeps_to_one_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU here: the session is one on the CPU, made by the calls that a GPU would get."""
    import onnxruntime

    asked, real = [], onnxruntime.InferenceSession

    def on_cpu(graph: object, providers: list[object], **options: object) -> object:
        asked.append(providers)
        session = real(graph, providers=["CPUExecutionProvider"], **options)
        session.get_providers = lambda: ["CUDAExecutionProvider"]
        return session

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", on_cpu)
    monkeypatch.setattr("gmme_edge.runtime.onnxruntime._DEVICES", {"ort-cuda": "cpu"})
    session = open_session(make_bundle(tmp_path), "ort-cuda", cuda_graph=True)
    assert asked == [[("CUDAExecutionProvider", {"enable_cuda_graph": "1"})]]
    for seed in (1, 2):
        waveform = np.random.default_rng(seed).normal(size=(2, TINY.n_samples)).astype(np.float32)
        expected = reference(waveform)["logits"]
        np.testing.assert_allclose(session.run(waveform)["logits"], expected, atol=1e-5)
    with pytest.raises(UsageError, match="A batch of 1 for a CUDA graph of 2"):
        session.run(waveform[:1])
    open_session(make_bundle(tmp_path), "ort-cuda").close()
    assert asked[1] == ["CUDAExecutionProvider"]
    with pytest.raises(UsageError, match="one of ort-cuda, tensorrt"):
        open_session(make_bundle(tmp_path), cuda_graph=True)


def test_a_network_that_no_cuda_graph_can_hold_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("This session cannot use the graph capture feature as requested")

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(PlatformError, match="leave --gpu-call graph out"):
        open_session(make_bundle(tmp_path), "ort-cuda", cuda_graph=True)


def test_a_failing_run_is_a_platform_error(tmp_path: Path) -> None:
    session = OnnxRuntimeSession(make_bundle(tmp_path), "ort-cpu", "fp32")
    session._outputs = ["no such output"]
    with pytest.raises(PlatformError, match="failed on a batch of 1"):
        session.run(np.zeros((1, TINY.n_samples), np.float32))


def test_idle_threads_do_not_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen = []
    real = onnxruntime.InferenceSession

    def spy(path: str, **options: object) -> object:
        seen.append(options["sess_options"])
        return real(path, **options)

    monkeypatch.setattr("onnxruntime.InferenceSession", spy)
    open_session(make_bundle(tmp_path), threads=2)
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert (seen[0].intra_op_num_threads, seen[0].inter_op_num_threads) == (2, 1)


@pytest.mark.parametrize(
    ("task", "entry"),
    [("esc50", ("session.force_spinning_stop", "1")),
     ("speech-commands", ("session.intra_op.allow_spinning", "0"))],
)  # fmt: skip
def test_threads_of_large_networks_spin_until_the_call_ends(
    task: str, entry: tuple[str, str]
) -> None:
    import onnxruntime

    spins = worth_spinning(preset("eat-s-aa", task))
    options = make_options(onnxruntime, "fp32", 2, None, spins)
    assert options.get_session_config_entry(entry[0]) == entry[1]


def test_a_missing_onnxruntime_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("cpu"))):
        check("ort-cpu")


def test_an_unknown_backend_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="ort-cuda"):
        check("ort-npu")
