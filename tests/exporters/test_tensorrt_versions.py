"""How each TensorRT version is asked to build, on stand-ins: none can be installed here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from gmme_edge.errors import (
    EngineError,
    InputError,
    MissingDependencyError,
    PlatformError,
    UsageError,
)
from gmme_edge.runtime.engines.info import sidecar_of
from gmme_exporters.tensorrt.build import FLAVOURS, EngineOptions, build_engine
from gmme_exporters.tensorrt.opsets import check_opset
from tests.artifacts import edit_manifest
from tests.bundles import make_bundle
from tests.exporters.tensorrt_graphs import SAMPLES, write_graph
from tests.exporters.tensorrt_recorded import RecordedTensorRT
from tests.fake_gpu import FakeCuda, FakeLibrary, install_cuda


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "model.onnx")


def test_what_needs_a_gpu_or_a_library_says_so(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(devices=0)})
    for flavour, module in zip(FLAVOURS, ("tensorrt", "tensorrt_rtx"), strict=True):
        options = EngineOptions(flavour)
        monkeypatch.setitem(sys.modules, module, FakeLibrary(FakeCuda()))
        with pytest.raises(PlatformError, match="no usable GPU") as refused:
            build_engine(graph, tmp_path / "model.engine", "fp32", options)
        assert "--backend" not in refused.value.fix  # which `export` has not got
        assert ("--sm 89" in refused.value.fix) == (flavour == "tensorrt-rtx")
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependencyError, match="pip install"):
            build_engine(graph, tmp_path / "model.engine", "fp32", options)


def test_a_bundles_manifest_tells_opset_and_operations_without_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a Jetson builds without the onnx package; what is not told is read with it."""
    folder = make_bundle(tmp_path / "bundle").path
    path = folder / "model.fp32.onnx"

    def note(opset: int, operators: list[str]) -> None:
        edit_manifest(
            folder,
            lambda v: [f.update(opset=opset, operators=operators) for f in v["files"][:1]],
        )

    monkeypatch.setitem(sys.modules, "onnx", None)
    note(18, ["Conv"])
    with pytest.raises(PlatformError, match="opset 18"):
        check_opset("8.6.2.3", path)
    note(17, ["Conv", "LayerNormalization"])
    with pytest.raises(PlatformError, match="LayerNormalization"):
        check_opset("8.5.2.2", path)
    note(17, ["Conv"])
    check_opset("8.5.2.2", path)
    note(16, [])  # by an older exporter: LayerNormalization came with opset 17
    check_opset("8.5.2.2", path)
    note(17, [])
    with pytest.raises(MissingDependencyError, match="which no manifest beside it tells"):
        check_opset("8.5.2.2", path)
    note(16, ["Conv"])
    path.write_bytes(path.read_bytes() + b"x")  # not the file that the manifest tells of
    with pytest.raises(MissingDependencyError):
        check_opset("8.5.2.2", path)


def test_what_is_no_graph_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="no ONNX file"):
        check_opset("8.6.2.3", path)


@pytest.mark.parametrize("values", [{"max_batch": 10**12}, {"workspace_mib": 10**18}])
def test_numbers_beyond_any_gpu_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"at most|1 to"):
        EngineOptions(**values)  # type: ignore[arg-type]


VERSIONS = {  # with the flags of `create_network`
    "8.6": ("8.6.2.3", ["EXPLICIT_BATCH"]),
    "10.3": ("10.3.0.26", ["EXPLICIT_BATCH", "STRONGLY_TYPED"]),
    "10.13": ("10.13.3.9", ["EXPLICIT_BATCH", "STRONGLY_TYPED"]),
    "10.16": ("10.16.1.11", ["EXPLICIT_BATCH", "STRONGLY_TYPED"]),
    "11.4": ("11.4.0.106", ["STRONGLY_TYPED"]),
}


@pytest.fixture
def old_graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "model.onnx", opset=17)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RecordedTensorRT]:
    """A TensorRT with the names of one column of the API table, and a GPU, by default an Orin."""

    def install(column: str, sm: int = 87, **board: Any) -> RecordedTensorRT:  # noqa: ANN401
        library = RecordedTensorRT(column, VERSIONS[column][0], **board)
        monkeypatch.setitem(sys.modules, "tensorrt", library)
        install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(sm=sm)})
        return library

    return install


Install = Callable[..., RecordedTensorRT]


@pytest.mark.parametrize("column", VERSIONS)
@pytest.mark.parametrize(("precision", "flag"), [("fp16", "FP16"), ("int8-tensorrt", "INT8")])
def test_each_tensorrt_is_asked_in_its_own_way(
    old_graph: Path, tmp_path: Path, install: Install, column: str, precision: str, flag: str
) -> None:
    _, network_flags = VERSIONS[column]
    library = install(column)
    options = EngineOptions(
        "tensorrt", max_batch=4, workspace_mib=64, optimization_level=2, version_compatible=True
    )
    info = build_engine(old_graph, tmp_path / "model.engine", precision, options)
    asked = library.asked
    (bits,) = asked["create_network"]
    chosen = [each.name for each in library.NetworkDefinitionCreationFlag if bits >> each & 1]
    assert chosen == network_flags
    assert library.flags == [*([flag] if column == "8.6" else []), "VERSION_COMPATIBLE"]
    assert asked["set_shape"] == ("waveform", (1, SAMPLES), (1, SAMPLES), (4, SAMPLES))
    assert asked["set_memory_pool_limit"] == (library.MemoryPoolType.WORKSPACE, 64 * 2**20)
    assert asked["builder_optimization_level"] == 2
    assert asked["profiling_verbosity"] == library.ProfilingVerbosity.DETAILED
    assert ("progress_monitor" in asked) == (column != "8.6")
    assert (info.target, info.gpu_name, info.n_layers) == ("tensorrt-sm87", "Fake GPU", 7)
    assert sidecar_of(tmp_path / "model.engine").is_file()


@pytest.mark.parametrize(("column", "sm"), [("10.3", 86), ("11.4", 120)])
def test_bf16_where_the_version_has_it(
    old_graph: Path, tmp_path: Path, install: Install, column: str, sm: int
) -> None:
    library = install(column, sm=sm)
    info = build_engine(old_graph, tmp_path / "m.engine", "bf16", EngineOptions("tensorrt"))
    assert (info.precision, library.flags) == ("bf16", [])


def test_hardware_compatibility(old_graph: Path, tmp_path: Path, install: Install) -> None:
    for column, level in (("8.6", "ampere-plus"), ("11.4", "same-compute-capability")):
        library = install(column, sm=89)
        options = EngineOptions("tensorrt", compatibility=level)
        build_engine(old_graph, tmp_path / "model.engine", "fp32", options)
        name = level.replace("-", "_").upper()
        assert library.asked["hardware_compatibility_level"].name == name


def test_a_dla_core_takes_what_it_can(old_graph: Path, tmp_path: Path, install: Install) -> None:
    library = install("10.3", dla_cores=2)
    options = EngineOptions("tensorrt", min_batch=1, max_batch=1, dla_core=1)
    build_engine(old_graph, tmp_path / "model.engine", "fp16", options)
    assert library.asked["default_device_type"].name == "DLA"
    assert (library.asked["DLA_core"], library.flags) == (1, ["GPU_FALLBACK"])


_DLA = {"max_batch": 1, "dla_core": 0}


@pytest.mark.parametrize(
    ("column", "sm", "precision", "values", "message"),
    [
        ("8.6", 87, "bf16", {}, "8.6.2.3 has no bfloat16"),
        ("10.3", 75, "bf16", {}, "SM75 has no bfloat16"),
        ("10.3", 89, "fp32", {"compatibility": "same-compute-capability"}, "TensorRT 10.13"),
        ("10.3", 75, "fp32", {"compatibility": "ampere-plus"}, "on SM75"),
        ("10.16", 87, "fp32", {"compatibility": "ampere-plus"}, "JetPack"),
        ("10.3", 87, "fp32", _DLA, "fp16 or int8"),
        ("8.6", 87, "int8-tensorrt", _DLA, "Q/DQ on a DLA"),
        ("10.16", 110, "fp16", _DLA, "finds 0 here(.|\n)*Thor and desktop GPUs have no DLA"),
    ],
)
def test_what_a_version_or_board_lacks_is_refused(
    old_graph: Path, tmp_path: Path, install: Install,
    column: str, sm: int, precision: str, values: dict[str, Any], message: str,
) -> None:  # fmt: skip
    library = install(column, sm=sm)
    with pytest.raises((PlatformError, UsageError), match=message):
        options = EngineOptions("tensorrt", **values)
        build_engine(old_graph, tmp_path / "model.engine", precision, options)
    assert "build_serialized_network" not in library.asked
    assert not (tmp_path / "model.engine").exists()


def test_a_builder_without_optimization_levels(
    old_graph: Path, tmp_path: Path, install: Install
) -> None:
    library = install("8.6")
    library.absent.add("IBuilderConfig.builder_optimization_level")  # as in TensorRT 8.5
    options = EngineOptions("tensorrt", optimization_level=4)
    with pytest.raises(PlatformError, match="has no optimization levels"):
        build_engine(old_graph, tmp_path / "model.engine", "fp32", options)


def test_the_timing_cache_is_kept_between_builds(
    old_graph: Path, tmp_path: Path, install: Install
) -> None:
    cache = tmp_path / "caches" / "timing.cache"
    options = EngineOptions("tensorrt", timing_cache=str(cache))
    for expected in (b"", b"+timings", b"+timings+timings"):
        library = install("10.3")
        build_engine(old_graph, tmp_path / "model.engine", "fp32", options)
        assert library.asked["create_timing_cache"] == (expected,)
        assert library.asked["set_timing_cache"][1] is False, "a mismatch must not be ignored"
    assert sorted(path.name for path in cache.parent.iterdir()) == [
        "timing.cache", "timing.cache.json",
    ]  # fmt: skip


def test_a_timing_cache_of_elsewhere_or_damaged_is_refused(
    old_graph: Path, tmp_path: Path, install: Install
) -> None:
    cache, engine = tmp_path / "timing.cache", tmp_path / "model.engine"
    options = EngineOptions("tensorrt", timing_cache=str(cache))
    install("10.3")
    build_engine(old_graph, engine, "fp32", options)
    kept = cache.read_bytes()
    for column, sm in (("10.13", 87), ("10.3", 89)):
        library = install(column, sm=sm)
        with pytest.raises(InputError, match=r"is of version 10\.3\.0\.26 on SM87"):
            build_engine(old_graph, engine, "fp32", options)
        assert "create_timing_cache" not in library.asked
    library = install("10.3")
    cache.write_bytes(kept[:-1])
    with pytest.raises(InputError, match=r"damaged(.|\n)*delete both files"):
        build_engine(old_graph, engine, "fp32", options)
    sidecar_of(cache).unlink()
    with pytest.raises(InputError, match="does not exist"):
        build_engine(old_graph, engine, "fp32", options)
    assert "create_timing_cache" not in library.asked
    cache.unlink()
    library.takes_cache = False
    with pytest.raises(EngineError, match="refuses the timing cache"):
        build_engine(old_graph, engine, "fp32", options)


def test_a_library_that_cannot_start(old_graph: Path, tmp_path: Path, install: Install) -> None:
    library = install("10.3")

    def builder(logger: Any) -> None:  # noqa: ANN401
        # As the real bindings do when the library returns a null pointer.
        logger.log(library.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    library.Builder = builder  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="cannot start: CUDA initialization failure"):
        build_engine(old_graph, tmp_path / "model.engine", "fp32", EngineOptions("tensorrt"))


def test_a_failed_build_writes_no_timing_cache(
    old_graph: Path, tmp_path: Path, install: Install
) -> None:
    install("10.3").plan = None
    options = EngineOptions("tensorrt", timing_cache=str(tmp_path / "timing.cache"))
    with pytest.raises(EngineError, match="cannot build"):
        build_engine(old_graph, tmp_path / "model.engine", "fp32", options)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_tensorrt_8_refuses_an_opset_that_it_would_miscompute(
    graph: Path, tmp_path: Path, install: Install
) -> None:
    install("8.6")
    with pytest.raises(PlatformError, match=r"opset 18(.|\n)*--opset 16"):
        build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions("tensorrt"))


def test_layer_normalization_needs_a_newer_tensorrt_8(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", opset=17)
    model = onnx.load(path)
    model.graph.node[0].op_type = "LayerNormalization"
    onnx.save(model, path)
    with pytest.raises(PlatformError, match=r"LayerNormalization(.|\n)*--opset 16"):
        check_opset("8.5.2.2", path)
    for version in ("8.6.1", "8.6.2.3", "10.3.0.26", "11.4.0.106"):
        check_opset(version, path)


def test_a_node_is_named_by_its_index_where_the_parser_knows_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(RecordedTensorRT):
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

    monkeypatch.setitem(sys.modules, "tensorrt", Failing("8.6", "8.5.2.2"))
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda(sm=87)})
    graph = write_graph(tmp_path / "model.onnx", opset=17)
    with pytest.raises(PlatformError, match=r"node 5: UNSUPPORTED_NODE(.|\n)*--opset 16"):
        build_engine(graph, tmp_path / "model.engine", "fp32", EngineOptions("tensorrt"))
