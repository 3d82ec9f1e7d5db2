from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import gmme_edge
from gmme_calibration.thresholds import Method
from gmme_edge.bundle.bundle import MANIFEST, Bundle
from gmme_edge.errors import ParityError, UsageError
from gmme_edge.files import sha256_of
from gmme_edge.models.eat import EAT
from gmme_edge.observer import Observer
from gmme_edge.workflows.int8 import Refiner, calibration_of
from gmme_exporters.bundle import export_bundle
from gmme_exporters.options import ExportOptions, expand_precisions
from gmme_exporters.tensorrt.build import EngineOptions
from tests.artifacts import (
    N_SAMPLES,
    calibration,
    calibration_clips,
    open_checkpoint,
    small_checkpoint,
    sounds,
    torch_logits,
)

QUICK = ExportOptions(opset=17)  # torch's older exporter: a second instead of ten


class Hears(Observer):
    def __init__(self, stage: Callable[[str], object]) -> None:
        self._heard = stage

    def stage(self, name: str) -> None:
        self._heard(name)


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("names", "precisions"),
    [
        ("fp32", ("fp32",)),
        ("fp16, fp32", ("fp16", "fp32")),
        ("int8", ("int8-ort", "int8-tensorrt")),
        ("int8-ort,int8,fp32,fp32", ("int8-ort", "int8-tensorrt", "fp32")),
    ],
)
def test_names_of_precisions(names: str, precisions: tuple[str, ...]) -> None:
    assert expand_precisions(names) == precisions


@pytest.mark.parametrize("names", ["", ",", "fp8", "fp32,fp8", "FP32"])
def test_unknown_precisions(names: str) -> None:
    with pytest.raises(UsageError, match="fp32, fp16, int8"):
        expand_precisions(names)


def test_golden_vectors_are_torchs(bundle: Path, root: Path) -> None:
    golden = Bundle.open(bundle).golden()
    np.testing.assert_array_equal(golden["waveform"], sounds()[:4])
    model = open_checkpoint(root).model
    np.testing.assert_allclose(golden["logits"], torch_logits(model, sounds()[:4]), atol=1e-5)
    head = model.classify.weight.detach().numpy(), model.classify.bias.detach().numpy()
    np.testing.assert_allclose(
        golden["embedding"] @ head[0].T + head[1], golden["logits"], atol=1e-4
    )


def test_provenance_leads_back_to_the_sources(bundle: Path, root: Path) -> None:
    provenance = Bundle.open(bundle).manifest.provenance
    weights = small_checkpoint(root) / "model.safetensors"
    assert provenance["checkpoint_sha256"] == sha256_of(weights)
    assert provenance["calibration_sha256"] == calibration_clips().sha256
    tools = provenance["tools"]
    assert tools["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (tools["onnx"], tools["gmme-edge"]) == (onnx.__version__, gmme_edge.__version__)


def test_parity_was_measured_on_every_clip(bundle: Path) -> None:
    parity = Bundle.open(bundle).manifest.parity
    assert {figures["n_clips"] for figures in parity.values()} == {10}
    assert parity["fp32"]["relative"] < 1e-5 < parity["fp16"]["relative"] < 1e-2
    assert [parity[p]["limit"] for p in parity] == [1e-3, 3e-2, 1.0, 1.0]


def test_the_calibration_is_recorded(bundle: Path) -> None:
    values = json.loads((bundle / "calibration.json").read_text())
    assert values["schema"] == 1
    expected = calibration_clips().to_dict()
    assert {key: values[key] for key in expected} == expected
    assert values["n"] == 20 and set(values["ranges"]) == {"generic"}
    for ranges in values["ranges"].values():
        assert len(ranges) > 60 and all(low <= high for low, high in ranges.values())


def test_a_bundle_holds_no_pickle_and_no_path_of_this_machine(bundle: Path) -> None:
    assert {path.suffix for path in bundle.iterdir()} == {".onnx", ".json", ".npz"}
    tells = (str(Path(__file__).parents[2]), str(Path.home()), "/tmp/", "site-packages")
    for name, content in content_of(bundle).items():
        assert not content.startswith(b"\x80"), "a pickle begins so"
        assert [tell for tell in tells if tell.encode() in content] == [], name
    with zipfile.ZipFile(bundle / "golden.npz") as archive:
        assert {name.rpartition(".")[2] for name in archive.namelist()} == {"npy"}
        packed = {entry.compress_type for entry in archive.infolist()}
        assert packed == {zipfile.ZIP_STORED}, "apps read it without a library"


class TestWriting:
    """Whole or not at all."""

    @pytest.fixture
    def old(self, root: Path, tmp_path: Path) -> Path:
        out = tmp_path / "place" / "bundle"
        export_bundle(open_checkpoint(root), out, QUICK, sounds()[:2])
        return out

    def test_parity_failure_leaves_the_old_bundle(self, root: Path, old: Path) -> None:
        before = content_of(old)
        strict = replace(QUICK, max_error=0.0)
        with pytest.raises(ParityError, match="The exported fp32 graph") as refused:
            export_bundle(
                open_checkpoint(root, "aa"), old, replace(strict, force=True), sounds()[:2]
            )
        assert "--no-lowering" in refused.value.fix
        assert content_of(old) == before
        assert [path.name for path in old.parent.iterdir()] == ["bundle"]
        with pytest.raises(ParityError):
            export_bundle(open_checkpoint(root), old.with_name("new"), strict, sounds()[:2])
        assert [path.name for path in old.parent.iterdir()] == ["bundle"]

    def test_an_interrupt_leaves_the_old_bundle(self, root: Path, old: Path) -> None:
        before = content_of(old)

        def stop(stage: str) -> None:
            if stage.startswith("check"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export_bundle(
                open_checkpoint(root, "aa"),
                old,
                replace(QUICK, force=True),
                sounds()[:2],
                observer=Hears(stop),
            )
        assert content_of(old) == before
        assert [path.name for path in old.parent.iterdir()] == ["bundle"]

    def test_a_new_bundle_takes_the_place_of_the_old_one(self, root: Path, old: Path) -> None:
        (old / "stale.onnx").write_bytes(b"")  # not of the old bundle: it stays
        stages: list[str] = []
        made = export_bundle(
            open_checkpoint(root, "aa"), old,
            replace(QUICK, embedding=False, untrained=True, force=True), sounds()[:2],
            observer=Hears(stages.append),
        )  # fmt: skip
        assert made.manifest == Bundle.open(old).manifest
        assert made.manifest.model.name == "small-aa" and made.manifest.untrained
        assert sorted(content_of(old)) == [
            "golden.npz", MANIFEST, "model.fp32.onnx", "stale.onnx",
        ]  # fmt: skip
        assert made.manifest.files[0].opset == 17
        assert stages == ["export to ONNX for ort-cpu", "write fp32", "check fp32 against torch"]
        assert [path.name for path in old.parent.iterdir()] == ["bundle"]
        made.check_files()

    @pytest.mark.parametrize("kind", ["folder", "file"])
    def test_something_else_is_not_replaced(self, root: Path, tmp_path: Path, kind: str) -> None:
        out = tmp_path / "precious"
        if kind == "folder":
            out.mkdir()
        kept = out / "thesis.tex" if kind == "folder" else out
        kept.write_text("years of work")
        with pytest.raises(UsageError, match="is no bundle"):
            export_bundle(open_checkpoint(root), out, QUICK, sounds()[:2])
        assert kept.read_text() == "years of work"

    def test_an_empty_folder_may_be_filled(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        made = export_bundle(open_checkpoint(root), tmp_path / "empty", QUICK, sounds()[:2])
        assert made.precisions == ("fp32",)

    def test_so_may_the_current_folder(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint, empty = open_checkpoint(root), tmp_path / "empty"
        empty.mkdir()
        monkeypatch.chdir(empty)
        export_bundle(checkpoint, Path(), QUICK, sounds()[:2])
        Bundle.open(empty).check_files()
        assert [path.name for path in tmp_path.iterdir()] == ["empty"]

    def test_int8_needs_calibration(self, root: Path, tmp_path: Path) -> None:
        options = replace(QUICK, precisions=("fp32", "int8-ort"))
        with pytest.raises(UsageError, match="--calib-dataset"):
            export_bundle(open_checkpoint(root), tmp_path / "out", options, sounds()[:2])
        assert list(tmp_path.iterdir()) == []

    def test_every_part_of_int8_is_a_stage_with_its_progress(
        self, root: Path, tmp_path: Path
    ) -> None:
        heard = Hears(lambda stage: told.append(stage))
        heard.progress = lambda what, done, n: told.append(what)  # type: ignore[method-assign]
        told: list[str] = []
        clips, method = calibration_clips(), Method()
        refiner = Refiner(bias_correction=True, equalize=True)
        export_bundle(
            open_checkpoint(root), tmp_path / "b", replace(QUICK, precisions=("int8-ort",)),
            sounds()[:2], calibration_of(clips, method, None, refiner, heard), heard,
        )  # fmt: skip
        assert list(dict.fromkeys(told)) == [
            "equalize int8-ort", "export to ONNX for ort-cpu-int8", "calibrate int8-ort",
            "calibrate", "correct biases of int8-ort", "correct biases", "write int8-ort",
            "check int8-ort against torch",
        ]  # fmt: skip

    def test_int8_without_fp32(self, root: Path, tmp_path: Path) -> None:
        options = replace(QUICK, precisions=("int8-ort",), max_error=0.9)
        made = export_bundle(
            open_checkpoint(root), tmp_path / "out", options, sounds(), calibration()
        )
        assert made.precisions == ("int8-ort",) and made.default_precision == "int8-ort"
        assert made.manifest.parity["int8-ort"]["limit"] == 0.9


def test_a_network_that_gives_nan_is_not_exported(root: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(root)
    with torch.no_grad():
        checkpoint.model.classify.bias[3] = torch.nan
    with pytest.raises(ParityError):
        export_bundle(checkpoint, tmp_path / "out", QUICK, sounds()[:2])
    assert isinstance(checkpoint.model, EAT) and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_engines_lie_in_the_bundle(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    engines = tuple(EngineOptions(sm=sm, max_batch=2) for sm in (86, 89))
    options = ExportOptions(("fp32", "int8-ort", "int8-tensorrt"), engines=engines)
    made = export_bundle(
        open_checkpoint(root), tmp_path / "out", options, sounds()[:2], calibration()
    )
    made.check_files()
    listed = {(f.precision, f.target) for f in made.manifest.files if f.role == "engine"}
    assert listed == {
        (precision, f"tensorrt-rtx-sm{sm}")
        for precision in ("fp32", "int8-tensorrt")
        for sm in (86, 89)
    }
    names = {f.path for f in made.manifest.files if f.role == "engine-sidecar"}
    assert len(names) == 4 and all((tmp_path / "out" / name).is_file() for name in names)
    assert made.manifest.model.n_samples == N_SAMPLES
