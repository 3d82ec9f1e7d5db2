"""Engines from the real TensorRT-RTX, built ahead of time for GPUs that are not here."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from gmme_edge.errors import (
    EngineError,
    InputError,
    PlatformError,
    UsageError,
)
from gmme_edge.files import sha256_of
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.runtime.engines.library import captured_log, shared_logger
from gmme_edge.workflows.engines import engine_options
from gmme_edge.workflows.settings.engines import EngineSettings
from gmme_exporters.graphs.bf16 import convert_bf16
from gmme_exporters.tensorrt.build import EngineOptions, build_engine
from tests.exporters.tensorrt_graphs import write_graph

SM89 = EngineOptions(sm=89)


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


def test_a_bf16_graph_is_made_of_the_fp16_one_and_builds(
    rtx: ModuleType, graph: Path, tmp_path: Path
) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half, brain = tmp_path / "half.onnx", tmp_path / "bf16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=True), half)
    convert_bf16(half, brain)
    types = [tensor.data_type for tensor in onnx.load(brain).graph.initializer]
    assert onnx.TensorProto.BFLOAT16 in types and onnx.TensorProto.FLOAT16 not in types
    info = build_engine(brain, tmp_path / "bf16.engine", "bf16", EngineOptions(sm=120))
    assert (info.precision, info.compute_capability) == ("bf16", "12.0")
    with pytest.raises(PlatformError, match="SM75 has no bfloat16"):
        build_engine(brain, tmp_path / "old.engine", "bf16", EngineOptions(sm=75))
    with pytest.raises(UsageError, match="no float16 weights"):
        convert_bf16(graph, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_bfloat16_is_rounded_to_nearest_even(tmp_path: Path) -> None:
    """Against the definition: the closer of the two neighbours with 8 significant bits."""
    values = np.random.default_rng(0).normal(size=500).astype(np.float16)
    values[:4] = [1 + 2**-8, 1 + 3 * 2**-8, 0, -(1 + 2**-8)]  # ties: to even, up, as it is, to even
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    weight = onnx.numpy_helper.from_array(values, "w")
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT16, [500])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [out], [weight])),
        tmp_path / "half.onnx",
    )
    convert_bf16(tmp_path / "half.onnx", tmp_path / "bf16.onnx")
    raw = onnx.load(tmp_path / "bf16.onnx").graph.initializer[0].raw_data
    got = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    mantissa, exponent = np.frexp(values.astype(np.float64))
    expected = np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8)  # numpy rounds ties to even
    np.testing.assert_array_equal(got, expected)


def test_what_tensorrt_rtx_builds_with_an_optimization_level(
    rtx: ModuleType, graph: Path, tmp_path: Path
) -> None:
    options = EngineOptions(sm=89, optimization_level=0, min_batch=4, opt_batch=4, max_batch=4)
    info = build_engine(graph, tmp_path / "model.engine", "fp32", options)
    assert (info.min_batch, info.opt_batch, info.max_batch) == (4, 4, 4)


def test_tensorrt_rtx_has_no_dla_and_no_lean_runtime(rtx: ModuleType) -> None:
    """The measurements behind two of the refusals below."""
    assert rtx.Builder(shared_logger(rtx)).num_DLA_cores == 0
    libraries = pytest.importorskip("tensorrt_rtx_libs")
    assert not [path for path in Path(libraries.__path__[0]).iterdir() if "lean" in path.name]


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
    for zero_point in (np.uint8(128), np.int8(3)):
        asymmetric = write_graph(tmp_path / "asymmetric.onnx", zero_point=zero_point)
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


@pytest.fixture
def heeded_ctrl_c() -> Iterator[None]:
    """Shells start background jobs with SIGINT ignored, which Python then leaves so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_the_build(
    rtx: ModuleType, graph: Path, tmp_path: Path, heeded_ctrl_c: None
) -> None:
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
        {"optimization_level": 6},
        {"optimization_level": -1},
        {"compatibility": "everything"},
        {"timing_cache": "timing.cache"},
        {"compatibility": "ampere-plus"},
        {"version_compatible": True},
        {"max_batch": 1, "dla_core": 0},
        {"flavour": "tensorrt", "max_batch": 1, "dla_core": -1},
        {"flavour": "tensorrt", "dla_core": 0},
        {"flavour": "tensorrt", "max_batch": 1, "dla_core": 0, "compatibility": "ampere-plus"},
    ],
)
def test_options_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EngineOptions(**values)


def options_of(**values: Any) -> tuple[EngineOptions, ...]:  # noqa: ANN401
    return engine_options(EngineSettings(**values))


def test_the_command_lines_options() -> None:
    assert options_of() == ()
    pair = options_of(engine="tensorrt-rtx", sm="86,120", min_batch=2, max_batch=4)
    assert [(each.sm, each.min_batch, each.opt_batch, each.max_batch) for each in pair] == [
        (86, 2, 2, 4), (120, 2, 2, 4),
    ]  # fmt: skip
    (one,) = options_of(
        engine="tensorrt", opt_batch=4, workspace_mib=64, optimization_level=1,
        timing_cache=Path("t"), compatibility="ampere-plus", version_compatible=True,
    )  # fmt: skip
    assert one == EngineOptions("tensorrt", None, 1, 4, 8, 64, 1, "t", "ampere-plus", True)
    for values in (
        {"sm": "89"}, {"workspace_mib": 1}, {"timing_cache": Path("t")}, {"dla_core": 0},
        {"version_compatible": True}, {"compatibility": "ampere-plus"},
        {"optimization_level": 0}, {"engine": "tensorrt-rtx", "sm": "ada"}, {"min_batch": 2},
        {"opt_batch": 2}, {"max_batch": 9},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            options_of(**values)
