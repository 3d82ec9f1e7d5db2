"""Engines from the real TensorRT-RTX, built ahead of time, and older TensorRTs by stand-in."""

from __future__ import annotations

import os
import signal
import sys
import time
from enum import IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from gmme_exporters.tensorrt import FLAVOURS, EngineOptions, build_engine
from gmme_exporters.tensorrt_parsing import read_opset
from onnx import TensorProto, helper, numpy_helper

from gmme_edge.errors import (
    EngineError,
    InputError,
    MissingDependencyError,
    PlatformError,
    UsageError,
)
from gmme_edge.files import sha256_of
from gmme_edge.runtime.engines import EngineInfo, sidecar_of
from gmme_edge.runtime.tensorrt_library import captured_log, shared_logger
from tests.fake_gpu import FakeCuda, FakeLibrary, install_cuda

SAMPLES = 256
SM89 = EngineOptions(sm=89)


def quantize(name: str, scale: str, zero: str, **axis: int) -> list[onnx.NodeProto]:
    quantized, result = f"{name}_q", f"{name}_dq"
    return [
        helper.make_node(
            "QuantizeLinear", [name, scale, zero], [quantized], f"{name}_quant", **axis
        ),
        helper.make_node("DequantizeLinear", [quantized, scale, zero], [result], **axis),
    ]


def write_graph(
    path: Path, odd: str = "", zero_point: np.generic | None = None, batch: str | int = "batch",
    opset: int = 18,
) -> Path:  # fmt: skip
    """Unsqueeze, (Q/DQ,) Conv, ReduceMean, Gemm; `odd` is an operation that no parser knows."""
    rng = np.random.default_rng(0)
    constants = {
        "one": np.array([1]),
        "two": np.array([2]),
        "weight": rng.normal(size=(4, 1, 7)).astype(np.float32),
        "matrix": rng.normal(size=(4, 3)).astype(np.float32),
        "bias": np.zeros(3, np.float32),
    }
    nodes = [helper.make_node("Unsqueeze", ["waveform", "one"], ["x"])]
    x, weight = "x", "weight"
    if zero_point is not None:
        constants |= {"scale": np.float32(0.02), "zero": zero_point}
        constants |= {"scales": np.full(4, 0.02, np.float32), "zeros": np.zeros(4, np.int8)}
        nodes += quantize("x", "scale", "zero") + quantize("weight", "scales", "zeros", axis=0)
        x, weight = "x_dq", "weight_dq"
    nodes.append(helper.make_node("Conv", [x, weight], ["maps"], pads=[3, 3]))
    if odd:
        nodes.append(helper.make_node(odd, ["maps"], ["odd"], "the_odd_one", domain="example"))
    nodes += [
        helper.make_node("ReduceMean", [(odd and "odd") or "maps", "two"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "matrix", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [batch, SAMPLES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3]),
         helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("example", 1), helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "model.onnx")


@pytest.fixture
def rtx() -> ModuleType:
    module: ModuleType = pytest.importorskip("tensorrt_rtx")
    return module


def assert_only(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize(("sm", "capability"), [(86, "8.6"), (89, "8.9"), (120, "12.0")])
def test_engines_are_built_without_the_gpu(
    rtx: ModuleType, graph: Path, tmp_path: Path, sm: int, capability: str
) -> None:
    engine = tmp_path / "out" / "model.engine"
    options = EngineOptions(sm=sm, min_batch=2, opt_batch=4, max_batch=6, workspace_mib=512)
    info = build_engine(graph, engine, "fp32", options)
    assert EngineInfo.read(engine) == info
    assert_only(engine.parent, "model.engine", "model.engine.json")
    assert (info.onnx_sha256, info.engine_sha256) == (sha256_of(graph), sha256_of(engine))
    assert info.size_bytes == engine.stat().st_size > 10_000
    assert (info.flavour, info.version) == ("tensorrt-rtx", rtx.__version__)
    assert (info.compute_capability, info.target) == (capability, f"tensorrt-rtx-sm{sm}")
    assert (info.gpu_name, info.driver, info.jetpack) == ("", "", "")
    assert (info.min_batch, info.opt_batch, info.max_batch) == (2, 4, 6)
    assert info.n_layers >= 5
    assert info.build_s > 0


def test_int8_and_fp16_graphs_build(rtx: ModuleType, graph: Path, tmp_path: Path) -> None:
    quantized = write_graph(tmp_path / "int8.onnx", zero_point=np.int8(0))
    info = build_engine(quantized, tmp_path / "int8.engine", "int8-tensorrt", SM89)
    plain = build_engine(graph, tmp_path / "plain.engine", "fp32", SM89)
    assert (info.precision, info.n_layers > plain.n_layers) == ("int8-tensorrt", True)
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = tmp_path / "half.onnx"
    onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=True), half)
    assert build_engine(half, tmp_path / "half.engine", "fp16", SM89).precision == "fp16"


def test_an_operation_that_cannot_be_parsed_is_named(rtx: ModuleType, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "model.onnx", odd="Frobnicate")
    with pytest.raises(PlatformError, match=r"'the_odd_one' \(Frobnicate\).*Plugin not found"):
        build_engine(graph, tmp_path / "model.engine", "fp32", SM89)
    assert_only(tmp_path, "model.onnx")


def test_quantization_for_onnx_runtime_is_refused(
    rtx: ModuleType, graph: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="int8-tensorrt"):
        build_engine(graph, tmp_path / "model.engine", "int8-ort", SM89)
    asymmetric = write_graph(tmp_path / "asymmetric.onnx", zero_point=np.uint8(128))
    with pytest.raises(PlatformError, match=r"x_quant(.|\n)*int8-ort graphs are for ONNX"):
        build_engine(asymmetric, tmp_path / "model.engine", "int8-tensorrt", SM89)
    with pytest.raises(UsageError, match="Unknown precision"):
        build_engine(graph, tmp_path / "model.engine", "int4", SM89)


@pytest.mark.parametrize(
    ("sm", "advice"), [(87, "on the Jetson"), (110, "on the Jetson"), (90, "--engine tensorrt")]
)
def test_a_gpu_that_tensorrt_rtx_does_not_serve(
    rtx: ModuleType, graph: Path, tmp_path: Path, sm: int, advice: str
) -> None:
    with pytest.raises(PlatformError) as caught:
        build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions(sm=sm))
    for text in (f"SM{sm}", "SM86, SM89, SM120", advice):
        assert text in str(caught.value)


def test_a_failed_build_gives_the_librarys_reason_and_keeps_the_old_engine(
    rtx: ModuleType, graph: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "model.engine"
    old = build_engine(graph, engine, "fp32", SM89)
    with pytest.raises(EngineError, match=r"FP32 GEMM is not supported(.|\n)*--precision fp16"):
        build_engine(graph, engine, "fp32", EngineOptions(sm=75))
    with pytest.raises(EngineError, match=r"workspace limit(.|\n)*workspace_mib"):
        build_engine(graph, engine, "fp32", EngineOptions(sm=89, workspace_mib=1))
    assert EngineInfo.read(engine) == old
    assert sha256_of(engine) == old.engine_sha256
    assert_only(tmp_path, "model.onnx", "model.engine", "model.engine.json")


def test_reasons_are_seen_while_another_part_uses_the_library(
    rtx: ModuleType, graph: Path, tmp_path: Path
) -> None:
    # The library keeps to the first logger it met, here that of a living runtime.
    runtime = rtx.Runtime(shared_logger(rtx))
    with captured_log(rtx) as other, pytest.raises(EngineError, match="FP32 GEMM"):
        build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions(sm=75))
    assert "FP32 GEMM" in other.reason()
    del runtime


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 99])
def test_a_file_that_is_no_onnx(rtx: ModuleType, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx"):
        build_engine(path, tmp_path / "model.engine", "fp32", SM89)
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        build_engine(path, tmp_path / "model.engine", "fp32", SM89)


def test_a_fixed_batch_is_refused(rtx: ModuleType, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "model.onnx", batch=1)
    with pytest.raises(InputError, match="dynamic batch"):
        build_engine(graph, tmp_path / "model.engine", "fp32", SM89)


def test_progress_is_reported_and_can_cancel(rtx: ModuleType, graph: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    build_engine(graph, tmp_path / "a.engine", "fp32", SM89, lambda *step: seen.append(step))
    assert len({phase for phase, _, _ in seen}) > 1
    assert all(1 <= done <= total for _, done, total in seen)

    def cancel(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(graph, tmp_path / "b.engine", "fp32", SM89, cancel)
    assert_only(tmp_path, "model.onnx", "a.engine", "a.engine.json")


def test_ctrl_c_stops_the_build(rtx: ModuleType, graph: Path, tmp_path: Path) -> None:
    steps = 0

    def interrupt(phase: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        build_engine(graph, tmp_path / "model.engine", "fp32", SM89, interrupt)
    assert steps < 20, "the build went on after Ctrl-C"
    assert_only(tmp_path, "model.onnx")


@pytest.mark.parametrize(
    "values",
    [
        {"flavour": "openvino"},
        {"min_batch": 0},
        {"opt_batch": 9},
        {"workspace_mib": 0},
        {"flavour": "tensorrt", "sm": 89},
    ],
)
def test_options_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EngineOptions(**values)


def test_what_needs_a_gpu_or_a_library_says_so(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(devices=0)})
    for flavour, module in zip(FLAVOURS, ("tensorrt", "tensorrt_rtx"), strict=True):
        options = EngineOptions(flavour)
        monkeypatch.setitem(sys.modules, module, FakeLibrary(FakeCuda()))
        with pytest.raises(PlatformError, match="no usable GPU"):
            build_engine(graph, tmp_path / "model.engine", "fp32", options)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependencyError, match="pip install"):
            build_engine(graph, tmp_path / "model.engine", "fp32", options)


def test_opset_is_read_without_onnx(tmp_path: Path) -> None:
    for opset in (11, 16, 18, 23):
        assert read_opset(write_graph(tmp_path / "g.onnx", opset=opset).read_bytes()) == opset
    model = (tmp_path / "g.onnx").read_bytes()
    assert {read_opset(model[:length]) for length in range(len(model))} <= {0, 23}


class OlderTensorRT(FakeLibrary):
    """A builder with the flags of one TensorRT version; it records how it was asked."""

    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    ErrorCode = SimpleNamespace(MODEL_DESERIALIZE_FAILED=3)

    def __init__(self, version: str, creation: list[str], building: list[str]) -> None:
        super().__init__(FakeCuda(), "tensorrt", version)
        self.NetworkDefinitionCreationFlag = IntEnum("Creation", creation, start=0)
        self.BuilderFlag = IntEnum("Building", building)
        self.asked: dict[str, Any] = {"flags": []}
        tensor = SimpleNamespace(name="waveform", shape=(-1, SAMPLES), dtype=self.float32)
        self.network = SimpleNamespace(
            num_inputs=1, num_outputs=1, num_layers=7,
            get_input=lambda _: tensor, get_output=lambda _: SimpleNamespace(name="logits"),
        )  # fmt: skip

    def Builder(self, logger: Any) -> Any:  # noqa: ANN401, N802 - TensorRT's name
        asked = self.asked
        config = SimpleNamespace(
            set_flag=asked["flags"].append,
            add_optimization_profile=lambda profile: None,
            set_memory_pool_limit=lambda pool, size: asked.update({pool: size}),
        )
        profile = SimpleNamespace(set_shape=lambda *shapes: asked.update(shapes=shapes))
        return SimpleNamespace(
            create_network=lambda flags: asked.update(network=flags) or self.network,
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=lambda network, config: b"a plan",
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: ANN401, N802 - TensorRT's name
        return SimpleNamespace(parse_from_file=lambda path: True)


VERSIONS = {
    "8.6.2.3": (["EXPLICIT_BATCH"], ["FP16", "INT8"], 1, True),
    "10.3.0.26": (["EXPLICIT_BATCH", "STRONGLY_TYPED"], ["FP16", "INT8"], 3, False),
    "11.4.0.1": ([], ["TF32"], 0, False),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("precision", "flag"), [("fp16", "FP16"), ("int8-tensorrt", "INT8")])
def test_each_tensorrt_is_asked_in_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, precision: str, flag: str
) -> None:
    creation, building, network_flags, is_weak = VERSIONS[version]
    library = OlderTensorRT(version, creation, building)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(sm=87)})
    graph = write_graph(tmp_path / "model.onnx", opset=17)
    options = EngineOptions("tensorrt", max_batch=4, workspace_mib=64)
    info = build_engine(graph, tmp_path / "model.engine", precision, options)
    assert library.asked["network"] == network_flags
    assert [flag.name for flag in library.asked["flags"]] == ([flag] if is_weak else [])
    assert library.asked["shapes"] == ("waveform", (1, SAMPLES), (1, SAMPLES), (4, SAMPLES))
    assert library.asked["workspace"] == 64 * 2**20
    assert (info.target, info.gpu_name, info.n_layers) == ("tensorrt-sm87", "Fake GPU", 7)
    assert sidecar_of(tmp_path / "model.engine").is_file()


def test_tensorrt_8_refuses_an_opset_that_it_would_miscompute(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", OlderTensorRT("8.6.2.3", ["EXPLICIT_BATCH"], []))
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(sm=87)})
    with pytest.raises(PlatformError, match=r"opset 18(.|\n)*--opset 16"):
        build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions("tensorrt"))


def test_a_node_is_named_by_its_index_where_the_parser_knows_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(OlderTensorRT):
        def OnnxParser(self, network: object, logger: Any) -> Any:  # noqa: ANN401, N802
            logger.log(self.ILogger.ERROR, "While parsing node number 5 [LayerNormalization]:")
            error = SimpleNamespace(
                code=lambda: SimpleNamespace(name="UNSUPPORTED_NODE"),
                desc=lambda: "No importer registered for op",
                node=lambda: 5,
            )
            return SimpleNamespace(
                parse_from_file=lambda path: False, num_errors=1, get_error=lambda index: error
            )

    monkeypatch.setitem(sys.modules, "tensorrt", Failing("8.5.2.2", ["EXPLICIT_BATCH"], []))
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(sm=87)})
    graph = write_graph(tmp_path / "model.onnx", opset=17)
    with pytest.raises(PlatformError, match=r"node 5: UNSUPPORTED_NODE(.|\n)*--opset 16"):
        build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions("tensorrt"))
