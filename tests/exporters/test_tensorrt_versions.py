"""How each TensorRT version is asked to build, on stand-ins: none can be installed here."""

from __future__ import annotations

import sys
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gmme_edge.errors import MissingDependencyError, PlatformError
from gmme_edge.runtime.engines import sidecar_of
from gmme_exporters.tensorrt import FLAVOURS, EngineOptions, build_engine
from gmme_exporters.tensorrt_parsing import read_opset
from tests.exporters.tensorrt_graphs import SAMPLES, write_graph
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
