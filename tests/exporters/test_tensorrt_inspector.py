"""The layer inspector, on JSON of the shape that NVIDIA documents; a real one needs a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.errors import BundleError, EngineError, InputError, PlatformError
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_exporters.tensorrt.inspector import inspect_engine, parse_layers
from tests.fake_gpu import PLAN, VERSION, FakeCuda, FakeEngine, FakeLibrary, install_cuda


def tensor(name: str, shape: list[int], text: str) -> dict[str, Any]:
    return {"Name": name, "Location": "Device", "Dimensions": shape, "Format/Datatype": text}


# The keys and phrases of the developer guide's examples (TensorRT 8.6 to 11, engine inspector).
LAYERS: list[dict[str, Any]] = [
    {
        "Name": "Reformatting CopyNode for Input Tensor 0 to conv",
        "LayerType": "Reformat",
        "Inputs": [tensor("waveform", [8, 16000], "Row major linear FP32")],
        "Outputs": [tensor("r", [8, 16000], "Channel major FP16 format where channel % 4 == 0")],
        "TacticValue": "0x0000000000000000",
    },
    {
        "Name": "conv + relu",
        "LayerType": "CaskConvolution",
        "Inputs": [tensor("q", [8, 1, 16000], "Thirty-two wide channel vectorized row major Int8")],
        "Outputs": [tensor("c", [8, 32, 4000], "Row major linear FP16 format")],
        "ParameterType": "Convolution",
        "TacticName": "sm80_xmma_fprop_implicit_gemm",
        "TacticValue": "0x11bde0e1d9f2f35d",
    },
    {
        "Name": "norm",
        "LayerType": "kgen",
        "Inputs": [tensor("c", [8, 32, 4000], "Half"), tensor("axes", [1], "Int64")],
        "Outputs": [tensor("n", [8, 32, 4000], "Half")],
        "TacticName": "__myl_Fused",
        "StreamId": 0,
    },
    {
        "Name": "head",
        "LayerType": "gemm",
        "Inputs": [tensor("index", [1], "Int32"), tensor("n", [8, 32], "Row major linear FP32")],
        "Outputs": [tensor("logits", [8, 35], "Float")],
        "TacticValue": "0x3",
    },
    {
        "Name": "wide",
        "LayerType": "gemm",
        "Inputs": [tensor("n", [8, 32], "Row major linear BFloat16 format")],
        "Outputs": [tensor("w", [8, 35], "BFloat16")],
    },
    {
        "Name": "late",
        "LayerType": "PointWise",
        "Inputs": [tensor("n", [-1, 32], "N/A due to dynamic shapes")],
        "Outputs": [],
    },
]
TEXT = json.dumps({"Layers": LAYERS, "Bindings": ["waveform", "logits"], "NewKey": 1})


def test_layers_precisions_tactics_and_shapes() -> None:
    found = parse_layers(TEXT)
    rows = [(layer.name, layer.precision, layer.tactic) for layer in found.layers[1:]]
    assert rows == [
        ("conv + relu", "INT8", "sm80_xmma_fprop_implicit_gemm"),
        ("norm", "FP16", "__myl_Fused"),
        ("head", "FP32", "0x3"),
        ("wide", "BF16", ""),
        ("late", "", ""),
    ]
    assert found.layers[1].inputs == ((8, 1, 16000),)
    assert found.layers[1].outputs == ((8, 32, 4000),)
    assert [layer.computes for layer in found.layers] == [False] + [True] * 5
    assert found.precisions == {"INT8": 1, "FP16": 1, "FP32": 1, "BF16": 1, "unknown": 1}
    assert found.n_fp32 == 1, "the reformat of the float32 input is no fall-back"
    written = json.loads(json.dumps(found.to_dict()))
    assert (written["n_layers"], written["n_fp32"]) == (6, 1)
    assert written["layers"][3]["inputs"] == [[1], [8, 32]]


@pytest.mark.parametrize("kind", ["signal", "wait", "shape_call"])
def test_what_waits_computes_nothing(kind: str) -> None:
    """As TensorRT-RTX 1.7 logs its engines: a third of the layers only join its streams."""
    layer = {"Name": "__mye120236_myl0_167", "LayerType": kind, "Inputs": [], "Outputs": []}
    assert parse_layers(json.dumps({"Layers": [layer]})).precisions == {}


def test_an_engine_without_details_has_names_only() -> None:
    found = parse_layers('{"Layers": ["conv + relu", "head"], "Bindings": []}')
    assert [layer.name for layer in found.layers] == ["conv + relu", "head"]
    assert found.precisions == {"unknown": 2} and found.n_fp32 == 0


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"Layers": 3}', '{"Layers": [3]}', '{"Layers": [{}]}',
     '{"Layers": [{"Name": "a", "Inputs": [{}]}]}', '{"Layers": [{"Name": "a", "Inputs": 1}]}'],
)  # fmt: skip
def test_what_is_no_inspectors_text(text: str) -> None:
    with pytest.raises(InputError, match='a list "Layers"'):
        parse_layers(text)


@pytest.fixture
def engine_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(PLAN)
    EngineInfo(
        "a" * 64, "b" * 64, len(PLAN), "tensorrt", VERSION, "8.7", "Orin", "", "", "fp16",
        1, 1, 8, 7, 1.0,
    ).write(path)  # fmt: skip
    return path


class InspectedEngine(FakeEngine):
    """Reports what it was asked: the inspector's context and the shape it was given."""

    def create_execution_context(self) -> Any:  # noqa: ANN401
        return SimpleNamespace(set_input_shape=lambda *shape: self.library.shapes.append(shape))  # type: ignore[attr-defined]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "waveform" else "out"

    def create_engine_inspector(self) -> Any:  # noqa: ANN401
        inspector = SimpleNamespace(execution_context=None)

        def information(format_: str) -> str:
            assert format_ == "json" and inspector.execution_context is not None
            return TEXT

        inspector.get_engine_information = information
        return inspector


class InspectedLibrary(FakeLibrary):
    TensorIOMode = SimpleNamespace(INPUT="in")
    LayerInformationFormat = SimpleNamespace(JSON="json")

    def __init__(self) -> None:
        super().__init__(FakeCuda())
        self.shapes: list[Any] = []

    def Runtime(self, logger: Any) -> Any:  # noqa: ANN401, N802 - TensorRT's name
        runtime = super().Runtime(logger)
        load = runtime.deserialize_cuda_engine
        return SimpleNamespace(
            deserialize_cuda_engine=lambda plan: load(plan) and InspectedEngine(runtime)
        )


def test_an_engine_is_read_at_its_largest_batch(
    engine_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = InspectedLibrary()
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    install_cuda(monkeypatch, {"libcudart.so.12": FakeCuda()})
    assert inspect_engine(engine_path).n_fp32 == 1
    (waveform,) = library.shapes
    assert waveform[0] == "waveform" and waveform[1][0] == 8 and len(waveform[1]) == 2
    engine_path.write_bytes(b"damaged")
    with pytest.raises(EngineError, match=r"Platform specific tag(.|\n)*capability 8\.7"):
        inspect_engine(engine_path)


def test_without_a_gpu_it_says_so(engine_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = InspectedLibrary()
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    install_cuda(monkeypatch, {})
    with pytest.raises(PlatformError, match=r"No CUDA runtime library(.|\n)*--layers"):
        inspect_engine(engine_path)
    assert library.loads == 0
    engine_path.with_name("model.engine.json").unlink()
    with pytest.raises(BundleError, match="does not exist"):
        inspect_engine(engine_path)


def test_the_command_reads_trtexecs_file_without_a_gpu(engine_path: Path, tmp_path: Path) -> None:
    layers = tmp_path / "layers.json"
    layers.write_text(TEXT)
    arguments = ["engine-info", str(engine_path), "--layers", str(layers)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "CaskConvolution" in result.stdout and "8x32x4000" in result.stdout
    assert "1 fell back to FP32." in result.stdout
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (printed["n_fp32"], printed["engine"]["precision"]) == (1, "fp16")
    layers.write_text("nothing")
    assert CliRunner().invoke(app, arguments).exit_code == InputError.exit_code
    layers.write_bytes(PLAN + b"\xff\xfe")  # a user's slip: the engine itself
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == InputError.exit_code and "it is no text" in result.stderr
    layers.write_text("[1]")
    result = CliRunner().invoke(app, arguments)
    assert "layers.json cannot be used: The inspector's text" in result.stderr
    layers.write_text('{"Layers": []}')
    assert "that compute: none." in CliRunner().invoke(app, arguments).stdout


def test_what_is_no_engine_is_told_and_not_its_sidecar(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    for name, told in (("model.onnx", "is no engine."), ("", "is no engine."),
                       ("absent.engine", "does not exist.")):  # fmt: skip
        result = CliRunner().invoke(app, ["engine-info", str(tmp_path / name)])
        assert result.exit_code == 3 and f"{tmp_path / name} {told}" in result.stderr
        assert "--engine tensorrt-rtx" in result.stderr
