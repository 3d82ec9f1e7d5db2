from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.manifest import BundleFile
from gmme_edge.bundle.precisions import expand_precisions
from gmme_edge.errors import (
    BundleError,
    GmmeEdgeError,
    MissingDependencyError,
    PlatformError,
    UsageError,
)
from gmme_edge.installation import install_command
from gmme_edge.runtime import openvino as backend
from gmme_edge.runtime.backends import open_session, resolve_precision, runnable_precisions
from gmme_edge.runtime.classifier import load
from gmme_edge.runtime.signal_stack import read_signal_stack
from gmme_edge.workflows.profiling import profile
from gmme_edge.workflows.settings.profiling import ProfileSettings
from gmme_edge.workflows.settings.verifying import VerifySettings
from gmme_edge.workflows.verifying import verify
from tests.artifacts import copy_bundle, edit_manifest
from tests.bundles import TINY, WEIGHTS, make_bundle, reference, tiny_graph

ov = pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")


def waveforms(batch: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(batch, TINY.n_samples)).astype(np.float32)


class OtherArithmetic:
    """A compiled network that tells of another precision than was asked for."""

    def __init__(self, told: str) -> None:
        self.told = told

    def get_property(self, _: str) -> Any:  # noqa: ANN401
        return SimpleNamespace(get_type_name=lambda: self.told)

    def create_infer_request(self) -> object:
        return object()


class FakeCore:
    """The real one, but for what it compiles; `asked` are the options of the last network."""

    def __init__(self, told: str, capabilities: tuple[str, ...] = ("FP32",)) -> None:
        self.available_devices = ["CPU", "GPU.0"]
        self.asked: dict[str, Any] = {}
        self.read_model = ov.Core().read_model
        self._told, self._capabilities = told, capabilities

    def get_property(self, _device: str, _name: str) -> tuple[str, ...]:
        return self._capabilities

    def compile_model(self, _model: object, device: str, options: dict[str, Any]) -> Any:  # noqa: ANN401
        self.asked = {"device": device, **options}
        return OtherArithmetic(self._told)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    def install(told: str, *capabilities: str) -> FakeCore:
        core = FakeCore(told, ("FP32", *capabilities))
        monkeypatch.setattr(ov, "Core", lambda: core)
        return core

    return install


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("threads", [None, 1])
def test_outputs_are_those_of_numpy(tmp_path: Path, batch: int, threads: int | None) -> None:
    session = open_session(make_bundle(tmp_path), "openvino", threads=threads)
    waveform = waveforms(batch)
    outputs = session.run(waveform)
    assert list(outputs) == ["logits", "embedding"]
    for name, expected in reference(waveform).items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)


def test_a_file_that_is_in_no_bundle_runs_too(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_graph().SerializeToString())
    logits = backend.open_graph(path, "fp32", threads=1)(waveforms(3))
    np.testing.assert_allclose(logits, reference(waveforms(3))["logits"], atol=1e-5)


def test_outputs_outlive_the_next_call(tmp_path: Path) -> None:
    session = open_session(make_bundle(tmp_path), "openvino")
    first = session.run(waveforms(2))["logits"]
    kept = first.copy()
    session.run(waveforms(2) * 3)
    np.testing.assert_array_equal(first, kept)


def test_every_size_of_batch_can_follow_every_other(tmp_path: Path) -> None:
    session = open_session(make_bundle(tmp_path), "openvino")
    for batch in (4, 1, 4, 2):
        np.testing.assert_allclose(
            session.run(waveforms(batch))["logits"],
            reference(waveforms(batch))["logits"],
            atol=1e-5,
        )


def test_a_closed_session_does_not_run(tmp_path: Path) -> None:
    session = open_session(make_bundle(tmp_path), "openvino")
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run(waveforms(1))


@pytest.mark.parametrize("shape", [(TINY.n_samples,), (0, TINY.n_samples), (1, 100)])
def test_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="8192"):
        open_session(make_bundle(tmp_path), "openvino").run(np.zeros(shape, np.float32))


class TestArithmetic:
    @pytest.mark.parametrize(
        ("name", "precision", "asked"),
        [
            ("openvino", "fp32", "f32"),
            ("openvino", "bf16", "bf16"),
            ("openvino", "int8", "f32"),
            ("openvino-gpu", "fp32", "f32"),
            ("openvino-gpu", "fp16", "f16"),
        ],
    )
    def test_it_is_always_named(
        self,
        tmp_path: Path,
        fake: Any,  # noqa: ANN401
        name: str,
        precision: str,
        asked: str,
    ) -> None:
        core = fake(asked, "BF16", "FP16")
        bundle = make_bundle(tmp_path, precisions=("fp32", "fp16", "int8-ort"))
        session = open_session(bundle, name, precision, threads=3)
        assert core.asked["INFERENCE_PRECISION_HINT"] == asked
        assert core.asked.get("INFERENCE_NUM_THREADS") == (3 if name == "openvino" else None)
        assert core.asked["device"] == backend.DEVICES[name]
        assert session.precision == ("int8-ort" if precision == "int8" else precision)

    @pytest.mark.parametrize(("asked", "told"), [("bf16", "f32"), ("fp32", "bf16")])
    def test_another_than_asked_for_is_an_error(
        self,
        tmp_path: Path,
        fake: Any,  # noqa: ANN401
        asked: str,
        told: str,
    ) -> None:
        fake(told)
        with pytest.raises(PlatformError, match=f"in {told} on this CPU"):
            open_session(make_bundle(tmp_path), "openvino", asked)

    def test_bfloat16_is_that_or_refused_here(self, tmp_path: Path) -> None:
        bundle = make_bundle(tmp_path)
        if not backend.supports("openvino", "bf16"):
            with pytest.raises(PlatformError, match="use --precision fp32"):
                open_session(bundle, "openvino", "bf16")
            return
        logits = open_session(bundle, "openvino", "bf16").run(waveforms(4))["logits"]
        wanted = reference(waveforms(4))["logits"]
        assert 0 < np.abs(logits - wanted).max() < 0.02 * np.abs(wanted).max()

    @pytest.mark.parametrize("has", [True, False])
    def test_it_is_listed_where_the_cpu_has_it(
        self,
        tmp_path: Path,
        fake: Any,  # noqa: ANN401
        has: bool,
    ) -> None:
        fake("bf16", *(["BF16"] if has else []))
        bundle = make_bundle(tmp_path, precisions=("fp32", "fp16", "int8-ort"))
        expected = ("fp32", "int8-ort", "bf16") if has else ("fp32", "int8-ort")
        assert runnable_precisions(bundle, "openvino") == expected

    def test_a_verdict_may_recommend_it(self, tmp_path: Path) -> None:
        folder = copy_bundle(make_bundle(tmp_path / "a").path, tmp_path / "b")
        verdict = {"backend": "openvino", "precision": "bf16"}
        edit_manifest(folder, lambda values: values.update(verdict=verdict))
        assert Bundle.open(folder).recommended_precision("openvino") == "bf16"
        absent = {**verdict, "precision": "int8-ort"}
        edit_manifest(folder, lambda values: values.update(verdict=absent))
        with pytest.raises(BundleError, match="verdict"):
            Bundle.open(folder)

    @pytest.mark.parametrize("name", ["ort-cpu", "tensorrt", "openvino-gpu"])
    def test_other_backends_refuse_it(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match=f"bf16 on {name}"):
            open_session(make_bundle(tmp_path), name, "bf16")

    def test_it_has_no_file_to_export(self) -> None:
        with pytest.raises(UsageError, match="fp32, fp16, int8"):
            expand_precisions("fp32,bf16")

    @pytest.mark.parametrize("precision", ["fp16", "int8-tensorrt"])
    def test_what_it_would_simulate_is_refused(self, tmp_path: Path, precision: str) -> None:
        bundle = make_bundle(tmp_path, precisions=("fp32", precision))
        with pytest.raises(UsageError, match="one of fp32, bf16, int8-ort"):
            open_session(bundle, "openvino", precision)


def _with_unknown_operator() -> onnx.ModelProto:
    model = tiny_graph()
    model.graph.node[0].op_type = "FromTheFuture"
    return model


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (b"garbage", BundleError, "export it again"),
        (tiny_graph().SerializeToString()[:300], BundleError, "export it again"),
        (tiny_graph(input_name="audio"), BundleError, "waveform"),
        (tiny_graph(output_name="scores"), BundleError, "logits"),
        (_with_unknown_operator(), PlatformError, "upgrade openvino"),
    ],
)
def test_what_does_not_load_is_told_apart(
    tmp_path: Path, graph: onnx.ModelProto | bytes, error: type[GmmeEdgeError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_session(make_bundle(tmp_path, graph=graph), "openvino")
    assert type(caught.value) is error


def _with_weights_at(location: str) -> onnx.ModelProto:
    model = tiny_graph()
    tensor = next(each for each in model.graph.initializer if each.name == "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(WEIGHTS.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return model


@pytest.mark.parametrize("where", ["absolute", "above"])
def test_a_graph_reads_no_file_outside_the_bundle(tmp_path: Path, where: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(WEIGHTS.tobytes())
    up = "../" * 12
    location = str(secret) if where == "absolute" else f"{up}{str(secret).lstrip('/')}"
    bundle = make_bundle(tmp_path / "bundle", graph=_with_weights_at(location))
    with pytest.raises(BundleError):
        open_session(bundle, "openvino")


def test_weights_beside_the_graph_are_read(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, graph=_with_weights_at("weights.bin")).path
    (folder / "weights.bin").write_bytes(WEIGHTS.tobytes())
    from gmme_edge.bundle.bundle import describe_file

    file: BundleFile = describe_file(folder, "weights.bin", "weights", "fp32")
    edit_manifest(folder, lambda values: values["files"].append(vars(file)))
    session = open_session(Bundle.open(folder), "openvino")
    np.testing.assert_allclose(
        session.run(waveforms(2))["logits"], reference(waveforms(2))["logits"], atol=1e-5
    )


def test_a_missing_openvino_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("openvino"))):
        backend.check("openvino")


def test_a_machine_without_the_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov, "Core", lambda: SimpleNamespace(available_devices=["CPU"]))
    with pytest.raises(PlatformError, match="finds no GPU here; it finds CPU"):
        backend.check("openvino-gpu")
    backend.check("openvino")
    with pytest.raises(UsageError, match="openvino-gpu"):
        backend.check("openvino-npu")


def test_int8_means_the_file_with_8_bit_kernels() -> None:
    assert resolve_precision("int8", "openvino") == "int8-ort"


def test_a_bundle_is_verified_profiled_and_loaded(bundle: Path) -> None:
    checked = verify(bundle, VerifySettings(backend="openvino", precision="fp32,int8", threads=1))
    fp32, int8 = checked.precisions["fp32"], checked.precisions["int8-ort"]
    assert fp32.reference.relative < 1e-5 < int8.reference.relative
    assert int8.repeat is not None and int8.repeat.relative < 0.1
    settings = ProfileSettings(backend="openvino", precision="fp32", warmup=0, repetitions=2)
    (row,) = profile([bundle], settings).rows
    assert (row.backend, row.precision, row.threads) == ("openvino", "fp32", 1)
    with load(bundle, "openvino", "fp32", threads=1) as ours, load(bundle, threads=1) as others:
        sound = np.random.default_rng(0).normal(size=9000).astype(np.float32)
        np.testing.assert_allclose(
            ours.probabilities(sound, 8000), others.probabilities(sound, 8000), atol=1e-5
        )


def test_signals_keep_their_stack(bundle: Path) -> None:
    """A handler that ran on the plugin's, once that was gone, ended the process."""

    def stack() -> tuple[object, ...]:
        found = read_signal_stack()
        return found.ss_sp, found.ss_flags, found.ss_size

    before = stack()
    session = open_session(Bundle.open(bundle), "openvino", "fp32", threads=1)
    assert stack() == before
    session.close()
    del session
    gc.collect()
    assert stack() == before


def test_its_telemetry_is_not_imported() -> None:
    code = (
        "import sys; from gmme_edge.runtime import openvino; openvino.check('openvino')\n"
        "assert 'openvino' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_openvino_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys, gmme_edge.runtime.openvino, gmme_edge.runtime.backends as b;"
        "b.resolve_precision('int8', 'openvino'); print('openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_table_of_positions_stays_unrounded() -> None:
    """What made OpenVINO's own pass fail: a rounded sum with a constant of (1, tokens, width)."""
    tokens, width = 5, 4
    table = np.arange(tokens * width, dtype=np.float32).reshape(1, tokens, width)
    initial = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in (
            ("table", table), ("scale", np.float32(0.1)), ("zero", np.uint8(100)),
        )
    ]  # fmt: skip
    nodes = [
        helper.make_node("Add", ["x", "table"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", tokens, width])
        for name in "xy"
    ]
    graph = helper.make_graph(nodes, "sum", shapes[:1], shapes[1:], initial)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = ov.Core().read_model(proto.SerializeToString())
    backend._leave_sums_unrounded(model)
    x = np.full((1, tokens, width), 0.123456, np.float32)
    np.testing.assert_array_equal(ov.compile_model(model, "CPU")([x])[0], x + table)
