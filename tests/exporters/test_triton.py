"""The repository of Triton's models: what is written, and that nothing that runs is disturbed."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from gmme_edge.bundle.bundle import Bundle, describe_file
from gmme_edge.errors import UsageError
from gmme_edge.files import sha256_of
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.workflows.settings.triton import TRITON_KINDS, TritonSettings
from gmme_exporters.triton.config import KINDS, TritonOptions, Variant, config_text
from gmme_exporters.triton.repository import check_repository, model_names, write_models
from tests.bundles import make_bundle, reference

SMALL = TritonOptions(kinds=KINDS, largest_batch=3, instances=2, threads=1, delay_us=500)


def _protobuf() -> ModuleType:
    """Triton's own description of a configuration, without its client's gRPC."""
    spec = importlib.util.find_spec("tritonclient")
    assert spec and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    found = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    with warnings.catch_warnings():  # generated for the protobuf before this one
        warnings.simplefilter("ignore")
        found.loader.exec_module(module)
    return module


PROTOBUF = _protobuf()


def parse(text: str) -> Any:  # noqa: ANN401 - generated
    """Raises where Triton would not know a field, or a value is of another type."""
    return text_format.Parse(text, PROTOBUF.ModelConfig())


def read_model(folder: Path) -> Any:  # noqa: ANN401
    return parse((folder / "config.pbtxt").read_text())


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bell", precisions=("fp32", "fp16", "int8-tensorrt"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@settings(deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    precision=st.sampled_from(("fp32", "fp16", "int8-tensorrt")),
    batch=st.integers(1, 40),
    counts=st.tuples(st.integers(1, 99), st.integers(1, 99), st.integers(0, 10**7)),
)
def test_every_configuration_is_one_of_tritons(
    kind: str, precision: str, batch: int, counts: tuple[int, int, int]
) -> None:
    instances, threads, delay_us = counts
    variant = Variant("a-b", kind, precision, 8192, {"logits": 3, "embedding": 128})
    options = TritonOptions((kind,), batch, instances, threads, delay_us)
    found = parse(config_text(variant, options))
    assert found.max_batch_size == batch
    assert found.dynamic_batching.max_queue_delay_microseconds == delay_us
    assert [(each.name, list(each.dims)) for each in found.input] == [("waveform", [8192])]
    assert [(e.name, list(e.dims)) for e in found.output] == [("logits", [3]), ("embedding", [128])]
    assert [each.count for each in found.instance_group] == [instances]
    assert [each.batch_size for each in found.model_warmup] == list(range(1, batch + 1))
    on_cpu = found.instance_group[0].kind == PROTOBUF.ModelInstanceGroup.KIND_CPU
    assert on_cpu == (kind in ("cpu", "python"))
    if kind == "cpu":
        assert found.parameters["intra_op_thread_count"].string_value == str(threads)
    if kind == "tensorrt":
        (accelerator,) = found.optimization.execution_accelerators.gpu_execution_accelerator
        assert accelerator.parameters["trt_profile_max_shapes"] == f"waveform:{batch}x8192"


def test_each_kind_gets_the_precisions_that_it_runs(bundle: Bundle, tmp_path: Path) -> None:
    written = write_models(bundle, tmp_path / "models", SMALL)
    names = [folder.parent.name for folder in written]
    assert sorted(names) == sorted(model_names("bell", bundle.precisions, KINDS))
    assert set(names) == {
        "bell-fp32-cpu", "bell-fp32-gpu", "bell-fp16-gpu", "bell-fp32-tensorrt",
        "bell-fp16-tensorrt", "bell-int8-tensorrt-tensorrt", "bell-fp32-python",
    }  # fmt: skip
    for folder in written:
        model = folder.parent
        assert read_model(model).name == model.name
        assert (model / "labels.txt").read_text().splitlines() == list(bundle.manifest.labels)


def test_graph_and_warm_up_are_those_of_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    (version,) = write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))
    window = np.fromfile(version.parent / "warmup" / "waveform.f32", "<f4")
    assert any(np.array_equal(window, row) for row in bundle.golden()["waveform"])
    session = onnxruntime.InferenceSession(version / "model.onnx")
    (found,) = session.run(["logits"], {"waveform": window[None]})
    np.testing.assert_allclose(found, reference(window[None])["logits"], rtol=1e-4, atol=1e-5)


def test_a_graph_finds_its_weights_beside_it(tmp_path: Path) -> None:
    """A shipped model keeps them in a file of their own."""
    shipped = Bundle.open("digits")
    (version,) = write_models(shipped, tmp_path / "m", TritonOptions(("cpu",)))
    session = onnxruntime.InferenceSession(version / "model.onnx")
    golden = shipped.golden()
    (found,) = session.run(["logits"], {"waveform": golden["waveform"]})
    np.testing.assert_allclose(found, golden["logits"], atol=1e-3)


def test_the_same_export_again_changes_no_file(bundle: Bundle, tmp_path: Path) -> None:
    first = write_models(bundle, tmp_path / "m", SMALL)
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (tmp_path / "m").rglob("*")}
    assert write_models(bundle, tmp_path / "m", SMALL) == first
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (tmp_path / "m").rglob("*")} == (
        before
    )


def test_a_new_version_leaves_the_running_one(bundle: Bundle, tmp_path: Path) -> None:
    (first,) = write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))
    before = contents(first)
    graph = (bundle.path / "model.fp32.onnx").read_bytes().replace(b"tiny", b"tint")
    changed = make_bundle(tmp_path / "new" / "bell", graph=graph)
    (second,) = write_models(changed, tmp_path / "m", TritonOptions(("cpu",)))
    assert (first.name, second.name) == ("1", "2")
    assert contents(first) == before
    assert (second / "model.onnx").read_bytes() == graph
    assert sorted(p.name for p in first.parent.iterdir()) == [
        "1", "2", "config.pbtxt", "labels.txt", "warmup",
    ]  # fmt: skip


def test_a_failed_write_leaves_no_version(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))
    before = contents(tmp_path / "m")
    graph = (bundle.path / "model.fp32.onnx").read_bytes().replace(b"tiny", b"tint")
    changed = make_bundle(tmp_path / "new" / "bell", graph=graph)

    def fail(*given: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Bundle, "copy_model", fail)
    with pytest.raises(Exception, match="No space"):
        write_models(changed, tmp_path / "m", TritonOptions(("cpu",)))
    assert contents(tmp_path / "m") == before
    assert first.parent.is_dir() and not (first.parent / "2").exists()


def test_other_labels_are_no_new_version(bundle: Bundle, tmp_path: Path) -> None:
    write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))
    other = replace(bundle, manifest=replace(bundle.manifest, labels=("x", "y", "z")))
    with pytest.raises(UsageError, match="other labels"):
        write_models(other, tmp_path / "m", TritonOptions(("cpu",)))


def test_anothers_model_is_not_touched(bundle: Bundle, tmp_path: Path) -> None:
    theirs = tmp_path / "m" / "bell-fp32-cpu"
    (theirs / "1").mkdir(parents=True)
    (theirs / "config.pbtxt").write_text("mine")
    with pytest.raises(UsageError, match="no model of this command"):
        write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))
    assert (theirs / "config.pbtxt").read_text() == "mine"


def test_a_folder_of_something_else_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "m" / "letters").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no model"):
        write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))
    (tmp_path / "m" / "theirs" / "1").mkdir(parents=True)  # a server needs no configuration
    assert write_models(bundle, tmp_path / "m", TritonOptions(("cpu",)))


def test_the_python_models_bundle_is_whole(bundle: Bundle, tmp_path: Path) -> None:
    (version,) = write_models(bundle, tmp_path / "m", TritonOptions(("python",)))
    inner = Bundle.open(version / "bundle")
    inner.check_files()
    assert inner.precisions == ("fp32",)
    assert inner.golden().keys() == bundle.golden().keys()


def test_an_engine_of_tensorrt_is_a_model_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    """Its batches are those that it was built for; one of TensorRT-RTX is no model."""
    files = list(bundle.manifest.files)
    for flavour, largest in (("tensorrt", 2), ("tensorrt-rtx", 8)):
        engine = bundle.path / f"fp16.{flavour}.engine"
        engine.write_bytes(flavour.encode())
        EngineInfo(
            onnx_sha256="0" * 64, engine_sha256=sha256_of(engine), size_bytes=len(flavour),
            flavour=flavour, version="10.3.0", compute_capability="8.7", gpu_name="Orin",
            driver="", jetpack="", precision="fp16", min_batch=1, opt_batch=1, max_batch=largest,
            n_layers=3, build_s=1.0,
        ).write(engine)  # fmt: skip
        files.append(describe_file(bundle.path, engine.name, "engine", "fp16", f"{flavour}-sm87"))
    built = replace(bundle, manifest=replace(bundle.manifest, files=tuple(files)))
    written = write_models(built, tmp_path / "m", TritonOptions(("tensorrt",), largest_batch=4))
    (plan,) = [folder for folder in written if folder.parent.name.endswith("-plan")]
    assert (plan / "model.plan").read_bytes() == b"tensorrt"
    found = read_model(plan.parent)
    assert (found.platform, found.max_batch_size) == ("tensorrt_plan", 2)
    assert found.instance_group[0].kind == PROTOBUF.ModelInstanceGroup.KIND_GPU


def test_precisions_that_no_model_serves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="None of the precisions"):
        check_repository(tmp_path, model_names("a", ("fp16",), ("cpu",)))


@pytest.mark.parametrize("named", ["", "cpu,moon", ","])
def test_unknown_kinds_are_refused(named: str) -> None:
    with pytest.raises(UsageError, match="--triton-for"):
        TritonSettings(triton=Path("m"), triton_for=named)


def test_the_options_name_what_the_exporter_knows() -> None:
    assert TRITON_KINDS == KINDS


def test_options_without_a_repository_are_refused() -> None:
    with pytest.raises(UsageError, match="--triton"):
        TritonSettings(triton_batch=4)
